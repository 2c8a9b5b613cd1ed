package firstboot_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestForesee: a member tells what a file of its owner would change, changes nothing, and
// knows the file when it works by it.
func TestForesee(t *testing.T) {
	again := []string{"secrets"} // those of the cluster, of which nobody here knows the old ones
	for name, c := range map[string]struct {
		from, to      string
		fields, steps []string
		refused       string
	}{
		"nothing":       {"site: home", "site: home", nil, again, ""},
		"another site":  {"site: home", "site: cabin", []string{"site"}, append([]string{"k3s"}, again...), ""},
		"another token": {"token: k3s-token-very-secret", "token: another-secret", []string{"k3s.token"}, append([]string{"k3s"}, again...), ""},
		"another zone":  {"timezone: Europe/Lisbon", "timezone: Etc/UTC", []string{"timezone"}, append([]string{"identity"}, again...), ""},
		"another proxy": {"proxy-secret", "proxy-typo", []string{"network.proxy"}, append([]string{"identity"}, again...), ""},
		"no proxy":      {`proxy: "http://user:proxy-secret@192.168.1.1:3128"`, "noProxy: []", []string{"network.proxy"}, append([]string{"identity"}, again...), ""},
		"another file":  {"file-secret = 1", "file-secret = 2", []string{"files"}, append([]string{"identity"}, again...), ""},
		"no such zone":  {"timezone: Europe/Lisbon", "timezone: Europe/Nowhere", nil, nil, "bad-field"},
		"another role":  {"role: server", "role: agent", nil, nil, "role-conflict"},
		"another node":  {"node: home-pi", "node: cabin-pi", nil, nil, "offer-node"},
	} {
		t.Run(name, func(t *testing.T) {
			w := joinedWorld(t, owned(t, 1))
			text := owned(t, 1)
			if c.refused == "role-conflict" { // nor does an agent create clusters
				text = edit(t, text, creates, "init: false")
			}
			data := sign(t, edit(t, text, c.from, c.to), 1, noon.Add(time.Hour))
			before := w.snapshot()
			p, err := firstboot.Foresee(t.Context(), w.host(), []byte(data))
			var refused *firstboot.Problem
			switch {
			case c.refused != "":
				if !errors.As(err, &refused) || refused.Code != c.refused {
					t.Fatalf("%+v, %v; want %s", p, err, c.refused)
				}
			case err != nil || p.InForce || !slices.Equal(p.Fields, c.fields) || !slices.Equal(p.Steps, c.steps):
				t.Fatalf("%+v, %v", p, err)
			}
			if !maps.Equal(before, w.snapshot()) {
				t.Error("something was changed")
			}
		})
	}
}

// TestForeseeInForce: what was handed over is in force when the node has taken it, and
// nothing is left to do when it has joined by it.
func TestForeseeInForce(t *testing.T) {
	w := lostWorld(t) // which takes what is handed over, and joins again
	data := sign(t, edit(t, edit(t, owned(t, 1), "hskey-auth-first", "hskey-auth-second"), "site: home", "site: cabin"), 1, noon)
	s, _, answer := w.offer(lost, data)
	if answer != nil || s.State != firstboot.Joined {
		t.Fatalf("%v; %s", answer, s.Line())
	}
	p, err := firstboot.Foresee(t.Context(), w.host(), []byte(data))
	if err != nil || !p.InForce || len(p.Steps) > 0 || len(p.Fields) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestANewerChartIsTold of, by the names of its files.
func TestANewerChartIsTold(t *testing.T) {
	with := func(version string) string {
		return edit(t, owned(t, 1), `longhorn: "kind: HelmChart\n"`, `longhorn: "chart: https://%{KUBERNETES_API}%/static/charts/longhorn-`+version+`.tgz\n"`)
	}
	for version, want := range map[string][]contract.ChartChange{"1": nil, "2": {{From: "longhorn-1.tgz", To: "longhorn-2.tgz"}}} {
		w := joinedWorld(t, with("1"))
		w.put("/usr/lib/imagebuilder/charts/longhorn-"+version+".tgz", "")
		p, err := firstboot.Foresee(t.Context(), w.host(), []byte(sign(t, edit(t, with(version), "site: home", "site: cabin"), 1, noon)))
		if err != nil || !slices.Equal(p.Charts, want) {
			t.Errorf("%s: %+v, %v", version, p, err)
		}
	}
}

// TestNotNow: what a member is busy with, another node.yaml would spoil; it says so, and
// takes none.
func TestNotNow(t *testing.T) {
	chart := edit(t, owned(t, 1), `longhorn: "kind: HelmChart\n"`, `longhorn: "chart: https://%{KUBERNETES_API}%/static/charts/longhorn-1.tgz\n"`)
	for name, c := range map[string]struct {
		world  func(t *testing.T) *world
		change func(*world)
		yaml   string
		want   string
	}{
		"a fault":          {nil, func(w *world) { w.trialFault = errors.New("input/output error") }, owned(t, 1), "input/output error"},
		"a trial":          {nil, func(w *world) { w.trial = &contract.Trial{} }, owned(t, 1), "an update is on trial"},
		"a restore":        {restoring, nil, owned(t, 1), "its volumes are being restored"},
		"its restore":      {restoring, nil, edit(t, owned(t, 1), "secrets: [", restore+", secrets: ["), ""},
		"a chart":          {nil, nil, chart, "the chart longhorn-1.tgz is not in its image"},
		"a chart it has":   {nil, func(w *world) { w.put("/usr/lib/imagebuilder/charts/longhorn-1.tgz", "") }, chart, ""},
		"nothing of these": {nil, nil, owned(t, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.world == nil {
				c.world = func(t *testing.T) *world { return joinedWorld(t, owned(t, 1)) }
			}
			w := c.world(t)
			if c.change != nil {
				c.change(w)
			}
			err := firstboot.Give(t.Context(), w.host(), []byte(sign(t, edit(t, c.yaml, "site: home", "site: cabin"), 1, noon)))
			given := w.files["/run/firstboot-page/offer"] != nil
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")) || given != (c.want == "") {
				t.Errorf("%v, want %q; given: %v", err, c.want, given)
			}
		})
	}
}

const restore = `restore: {systemBackup: system-1, claims: {nextcloud/data: backup-1}, manifests: {argocd-root: "kind: Application\n"}}`

// restoring is a node whose volumes are not back yet.
func restoring(t *testing.T) *world {
	w := newWorld(t, edit(t, owned(t, 1), "secrets: [", restore+", secrets: ["))
	deferK3s(w)
	if s, _ := w.boot(func(s firstboot.Status) bool { return s.Step == "restore" }); s.Step != "restore" {
		t.Fatal(s.Line())
	}
	return w
}

// TestLockedTakesNothing in the tailnet: the secrets would lie in the clear.
func TestLockedTakesNothing(t *testing.T) {
	public, _ := keyPair(t, 1)
	w := locked(t, "ownerKey: "+public+"\n")
	_, err := firstboot.Foresee(t.Context(), w.host(), []byte(sign(t, owned(t, 1), 1, noon)))
	if err == nil || !strings.Contains(err.Error(), "its data are locked") {
		t.Error(err)
	}
}

// TestChangedSince: what somebody at the node changed without a signature is put right by
// the same file.
func TestChangedSince(t *testing.T) {
	w := lostWorld(t)
	data := sign(t, edit(t, owned(t, 1), "hskey-auth-first", "hskey-auth-second"), 1, noon)
	if s, _, answer := w.offer(lost, data); answer != nil || s.State != firstboot.Joined {
		t.Fatalf("%v; %s", answer, s.Line())
	}
	if s := w.replant(edit(t, owned(t, 1), "ntp: [192.168.1.1]", "ntp: [192.168.1.9]")); s.Notice != nil {
		t.Fatal(s.Line())
	}
	again := sign(t, edit(t, owned(t, 1), "hskey-auth-first", "hskey-auth-second"), 1, noon.Add(time.Hour))
	p, err := firstboot.Foresee(t.Context(), w.host(), []byte(again))
	if err != nil || p.InForce || !slices.Equal(p.Fields, []string{"network.ntp"}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestTheCreatorStaysOne: the node that created the cluster stays its creator, whichever
// node may create one now.
func TestTheCreatorStaysOne(t *testing.T) {
	w := joinedWorld(t, owned(t, 1))
	w.put("/var/lib/rancher/k3s/server/db/state.db", "")
	data := sign(t, edit(t, owned(t, 1), creates, "init: false"), 1, noon)
	s := w.replant(data)
	if config := w.text("/etc/rancher/k3s/config.yaml"); s.State != firstboot.Joined || !strings.Contains(config, "cluster-init: true") {
		t.Errorf("%s\n%s", s.Line(), config)
	}
}

// TestToldOfFiles: a program that reads one of node.yaml's files only at its start is
// restarted when that file changes on a running node.
func TestToldOfFiles(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/sysctl.d/50-own.conf": "restart systemd-sysctl.service", "/etc/rancher/k3s/registries.yaml": "restart k3s.service", "/etc/imagebuilder/files/own.conf": "",
	} {
		yaml := edit(t, initYAML, "/etc/sysctl.d/50-own.conf", path)
		w := joinedWorld(t, yaml)
		w.names = nil
		w.personalise(edit(t, yaml, "file-secret = 1", "file-secret = 2"))
		if s, _ := w.boot(nil); s.State != firstboot.Joined {
			t.Fatal(s.Line())
		}
		var told []string
		for _, name := range w.names {
			if strings.HasPrefix(name, "restart ") {
				told = append(told, name)
			}
		}
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

package firstboot_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

var proof = firstboot.Proof{Join: 10 * time.Minute, Soak: 3 * time.Minute}

// runs is a node that says of itself what status is, at every look that a step of the
// clock allows.
func runs(t *testing.T, member bool, change func(w *world, since time.Duration)) (*world, firstboot.Host) {
	w := newWorld(t, initYAML)
	w.startK3s()
	w.units["k3s.service"], w.units["firstboot.service"] = true, true
	w.put("/etc/rancher/k3s/config.yaml", "")
	if member {
		w.put("/var/lib/imagebuilder/firstboot/joined", "home-pi\n")
	}
	w.state(firstboot.Joined)
	began := w.now
	w.fault = func(_ int, call string) fault {
		if call != "sleep" {
			return none
		}
		if s, err := firstboot.ReadStatus(memFiles{w}); err == nil && w.units["firstboot.service"] {
			w.state(s.State)
		}
		if change != nil {
			change(w, w.now.Sub(began))
		}
		return none
	}
	return w, w.host()
}

func (w *world) state(s firstboot.State) {
	w.files["/run/firstboot/status.json"] = &entry{data: firstboot.Status{State: s, Node: "home-pi", Time: w.now}.JSON()}
}

// startFirstboot has systemd start it anew.
func (w *world) startFirstboot(invocation string) {
	w.files["/run/systemd/units/invocation:firstboot.service"] = &entry{link: invocation}
}

// TestOnTrial: a system on trial is kept when it was well for a while on end, and not
// before; what was broken before the trial is not its fault.
func TestOnTrial(t *testing.T) {
	at := func(when time.Duration, do func(*world)) func(*world, time.Duration) {
		done := false
		return func(w *world, since time.Duration) {
			if since >= when && !done {
				done = true
				do(w)
			}
		}
	}
	fails := func(unit string) func(*world) { return func(w *world) { w.failed = append(w.failed, unit) } }
	reached := func(boot string) func(*world) {
		return func(w *world) {
			w.metadata = `"metadata":{"annotations":{"imagebuilder/boot":"boot-1","imagebuilder/reached":"` + boot + ` cabin-pi"}},`
		}
	}
	servers := func(other func(node string) string) func(*world) {
		return func(w *world) {
			w.all = `{"items":[` + kubeNode("home-pi", "home", "100.64.0.7", serverLabel, "") + "," + other(kubeNode("cabin-pi", "cabin", "100.64.0.9", serverLabel, "")) + `]}`
		}
	}
	both := func(first, second func(*world)) func(*world) { return func(w *world) { first(w); second(w) } }
	for name, c := range map[string]struct {
		change   func(*world, time.Duration)
		trial    contract.Trial
		min, max time.Duration
		fault    string
	}{
		"well":                   {min: 3 * time.Minute, max: 4 * time.Minute},
		"a unit failed":          {change: at(time.Minute, fails("new.service")), min: 12 * time.Minute, max: 13 * time.Minute, fault: "new.service has failed"},
		"it had failed before":   {change: at(0, fails("old.service")), trial: contract.Trial{Failed: []string{"old.service"}}, min: 3 * time.Minute, max: 4 * time.Minute},
		"a copy found no bucket": {change: at(time.Minute, fails("headscale-backup.service")), min: 3 * time.Minute, max: 4 * time.Minute},
		"a unit recovers": {change: func(w *world, since time.Duration) {
			w.failed = nil
			if since > time.Minute && since < 2*time.Minute {
				w.failed = []string{"new.service"}
			}
		}, min: 290 * time.Second, max: 6 * time.Minute},
		"k3s started anew": {change: at(2*time.Minute, func(w *world) { w.startK3s() }), min: 5 * time.Minute, max: 6 * time.Minute},
		"firstboot hangs":  {change: at(20*time.Second, func(w *world) { w.units["firstboot.service"] = false }), min: 12 * time.Minute, max: 13 * time.Minute, fault: "firstboot says nothing any more"},
		"firstboot hung for a while": {change: func(w *world, since time.Duration) {
			w.units["firstboot.service"] = since < 20*time.Second || since > 4*time.Minute
		}, min: 7 * time.Minute, max: 8 * time.Minute},
		"firstboot crashed": {change: at(2*time.Minute, func(w *world) { w.startFirstboot("second") }), min: 5 * time.Minute, max: 6 * time.Minute},
		"firstboot crashes for ever": {change: func(w *world, since time.Duration) {
			w.startFirstboot(since.Truncate(time.Minute).String())
		}, min: 12 * time.Minute, max: 13 * time.Minute, fault: "firstboot was started anew"},
		"left the cluster":         {change: at(2*time.Minute, func(w *world) { w.state(firstboot.Waiting) }), min: 12 * time.Minute, max: 13 * time.Minute, fault: "firstboot: waiting"},
		"ssh answers":              {change: at(0, func(w *world) { w.login = true }), trial: contract.Trial{Login: true}, min: 3 * time.Minute, max: 4 * time.Minute},
		"ssh does not any more":    {trial: contract.Trial{Login: true}, min: 12 * time.Minute, max: 13 * time.Minute, fault: "ssh does not answer"},
		"reached":                  {change: at(time.Minute, reached("boot-1")), trial: contract.Trial{Reached: true}, min: 3 * time.Minute, max: 4 * time.Minute},
		"reached late":             {change: at(5*time.Minute, reached("boot-1")), trial: contract.Trial{Reached: true}, min: 5 * time.Minute, max: 6 * time.Minute},
		"never reached":            {change: at(0, reached("boot-0")), trial: contract.Trial{Reached: true}, min: 12 * time.Minute, max: 13 * time.Minute, fault: "no server has reached it over the tailnet"},
		"nobody is there to":       {change: at(0, both(reached("boot-0"), servers(gone))), trial: contract.Trial{Reached: true}, min: 12 * time.Minute, max: 13 * time.Minute},
		"somebody was":             {change: at(0, both(reached("boot-0"), servers(func(node string) string { return node }))), trial: contract.Trial{Reached: true}, min: 12 * time.Minute, max: 13 * time.Minute, fault: "no server has reached it over the tailnet"},
		"the cluster says nothing": {change: at(0, func(w *world) { w.ready = false }), trial: contract.Trial{Reached: true}, min: 12 * time.Minute, max: 13 * time.Minute, fault: "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w, h := runs(t, true, c.change)
			c.trial.Slot = "b"
			w.trial = &c.trial
			began := w.now
			err := firstboot.Health(context.Background(), h, proof)
			took := w.now.Sub(began)
			if took < c.min || took > c.max || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("after %s: %v", took, err)
			}
		})
	}
}

// TestNotOnTrial: a system that was good before, and a node that was no member, wait
// for nothing; a member that does not come back is not well.
func TestNotOnTrial(t *testing.T) {
	for name, c := range map[string]struct {
		member bool
		state  firstboot.State
		trial  *contract.Trial
		fault  string
	}{
		"good and joined":     {true, firstboot.Joined, nil, ""},
		"never a member":      {false, firstboot.NeedsPerson, &contract.Trial{Slot: "b"}, ""},
		"it says nothing":     {false, "", nil, "not joined after 10m0s"},
		"a member, not again": {true, firstboot.Waiting, nil, "not joined after 10m0s: firstboot: waiting"},
	} {
		w, h := runs(t, c.member, nil)
		w.state(c.state)
		if c.state == "" {
			delete(w.files, firstboot.StatusJSON)
		}
		w.trial, w.failed = c.trial, []string{"some.service"}
		began := w.now
		err := firstboot.Health(context.Background(), h, proof)
		if (err == nil) != (c.fault == "") || err != nil && !strings.HasPrefix(err.Error(), c.fault) || err == nil && w.now.Sub(began) > time.Second { // what it takes to write down that the slot is whole
			t.Errorf("%s: after %s: %v", name, w.now.Sub(began), err)
		}
	}
}

// TestHealthIsInterrupted: it ends with its context, at once.
func TestHealthIsInterrupted(t *testing.T) {
	for _, state := range []firstboot.State{firstboot.Waiting, firstboot.Joined} {
		ctx, cancel := context.WithCancel(context.Background())
		w, h := runs(t, true, func(*world, time.Duration) { cancel() })
		w.state(state)
		w.trial = &contract.Trial{Slot: "b"}
		if err := firstboot.Health(ctx, h, proof); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

const serverYAML = `version: 1
node: home-pi
site: home
role: server
headscale: {url: "https://headscale.example.net", authKey: hskey-auth-first}
k3s: {init: true, servers: [home-pi, cabin-pi], token: k3s-token-very-secret}
`

// kubeNode is one of the cluster as its API tells it.
func kubeNode(name, zone, address, labels, notes string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"topology.kubernetes.io/zone":%q%s},"annotations":{%s}},"status":{"addresses":[{"type":"Hostname","address":%q},{"type":"InternalIP","address":%q}],"conditions":[{"type":"Ready","status":"True"}]}}`,
		name, zone, labels, notes, name, address)
}

// gone is a node that was switched off.
func gone(node string) string { return strings.Replace(node, `"True"`, `"Unknown"`, 1) }

const serverLabel = `,"node-role.kubernetes.io/control-plane":"true"`

// watching is a joined server, after it has looked at the cluster for two minutes.
func watching(t *testing.T, nodes ...string) *world {
	w := newWorld(t, serverYAML)
	w.all = `{"items":[` + strings.Join(nodes, ",") + `]}`
	w.reachable = map[netip.Addr]bool{netip.MustParseAddr("100.64.0.8"): true}
	w.watch(2 * time.Minute)
	return w
}

// watch runs a node that is well for a while.
func (w *world) watch(d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var since time.Time
	err := firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) {
		switch {
		case s.State == firstboot.Joined && since.IsZero():
			since = w.now
		case s.State == firstboot.NeedsPerson:
			w.t.Error(s.Line())
			cancel()
		case !since.IsZero() && w.now.Sub(since) > d:
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		w.t.Error(err)
	}
}

// TestReachingOthers: a server answers nodes that ask, once for each boot of theirs, if
// it really reaches them; those of its own site only where no other site has a server that is
// Ready.
func TestReachingOthers(t *testing.T) {
	const server, asks = serverLabel, `"imagebuilder/boot":"boot-9"`
	const there, away = "100.64.0.8", "100.64.0.9"
	for name, c := range map[string]struct {
		nodes []string
		want  string
	}{
		"at another site":             {[]string{kubeNode("cabin-pc", "cabin", there, "", asks)}, "boot-9 home-pi"},
		"answered before":             {[]string{kubeNode("cabin-pc", "cabin", there, "", asks+`,"imagebuilder/reached":"boot-9 vps"`)}, ""},
		"answered in another boot":    {[]string{kubeNode("cabin-pc", "cabin", there, "", asks+`,"imagebuilder/reached":"boot-8 vps"`)}, "boot-9 home-pi"},
		"it does not ask":             {[]string{kubeNode("cabin-pc", "cabin", there, "", "")}, ""},
		"not reached":                 {[]string{kubeNode("cabin-pc", "cabin", away, "", asks)}, ""},
		"a neighbour, nobody else":    {[]string{kubeNode("cabin-pc", "home", there, "", asks), kubeNode("x", "cabin", away, "", "")}, "boot-9 home-pi"},
		"a neighbour, others may":     {[]string{kubeNode("cabin-pc", "home", there, "", asks), kubeNode("x", "cabin", away, server, "")}, ""},
		"a neighbour, others gone":    {[]string{kubeNode("cabin-pc", "home", there, "", asks), gone(kubeNode("x", "cabin", away, server, ""))}, "boot-9 home-pi"},
		"one of no address":           {[]string{kubeNode("cabin-pc", "cabin", "none", "", asks)}, ""},
		"another server, at its site": {[]string{kubeNode("cabin-pc", "cabin", there, server, asks)}, "boot-9 home-pi"},
	} {
		t.Run(name, func(t *testing.T) {
			w := watching(t, c.nodes...)
			got := w.patched["/api/v1/nodes/cabin-pc"]
			if c.want == "" && got != "" || c.want != "" && got != `{"metadata":{"annotations":{"imagebuilder/reached":"`+c.want+`"}}}` {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestAskingToBeReached: each boot asks once, and leaves what others wrote there. Who answered is
// remembered, for a time when nobody does.
func TestAskingToBeReached(t *testing.T) {
	w := watching(t)
	asked := func() (n int) {
		for _, call := range w.names {
			if call == "patch "+ownObject {
				n++
			}
		}
		return n
	}
	if !strings.Contains(w.metadata, `"imagebuilder/boot":"boot-1"`) || asked() != 1 {
		t.Errorf("%s, asked %d times", w.metadata, asked())
	}
	w.reboot()
	w.put("/proc/sys/kernel/random/boot_id", "boot-2\n")
	w.watch(2 * time.Minute)
	if !strings.Contains(w.metadata, `"imagebuilder/boot":"boot-2"`) || asked() != 2 {
		t.Errorf("%s, asked %d times", w.metadata, asked())
	}
	const note = "/var/lib/imagebuilder/firstboot/reached"
	for boot, want := range []string{1: "", 2: "cabin-pi\n"} {
		w.metadata = fmt.Sprintf(`"metadata":{"annotations":{"imagebuilder/boot":"boot-2","imagebuilder/reached":"boot-%d cabin-pi"}},`, boot)
		w.watch(2 * time.Minute)
		if got := w.text(note); got != want {
			t.Errorf("reached in boot %d: %q, want %q", boot, got, want)
		}
	}
}

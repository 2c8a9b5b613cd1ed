//go:build vm && linux

package vmtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/lab"
)

// rehearsal is "imagebuilder lab" as a person runs it.
type rehearsal struct {
	t   *testing.T
	dir string // of the lab
	cmd *exec.Cmd
	log *os.File
}

// newRehearsal starts the lab of the README's example, without its agents unless AGENTS asks for
// them: five emulated machines take a small computer half an hour.
func newRehearsal(t *testing.T, args ...string) (*rehearsal, *json.Decoder) {
	t.Helper()
	program, err := filepath.Abs(builder)
	if err != nil {
		t.Fatal(err)
	}
	top, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	run(t, program, "fleet", "init", top+"/fleet", "--example", "going-mobile")
	file := top + "/fleet/fleet.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("\nsites:\n"), []byte("\n"+objects+"sites:\n"), 1)
	if os.Getenv("AGENTS") == "" { // nor with Longhorn then, since agents hold its volumes
		text = regexp.MustCompile(`(?m)^.*(role: agent|longhorn:).*\n`).ReplaceAll(text, nil)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, charts(t, top)...)
	r := &rehearsal{t: t, dir: top + "/d"}
	memory := "1GiB"
	if realK3s(runtime.GOARCH) {
		memory = "2GiB"
	}
	r.cmd = exec.CommandContext(t.Context(), program, append([]string{"lab", "--fleet", file, "--dir", r.dir, "--memory", memory, "--json",
		"--component", "k3s=" + k3s(t, runtime.GOARCH)}, args...)...)
	r.cmd.Dir = top                                                           // where the images go
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(os.Interrupt) } // it ends its machines
	if r.log, err = os.Create(top + "/log"); err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = r.log
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Wait() }) // an error where it has ended already
	return r, json.NewDecoder(out)
}

// objects is what a cluster runs, with secrets that only its owner has.
const objects = `  longhorn: {backup: {endpoint: https://s3.example.net, region: eu, bucket: volumes, accessKey: a, secretKey: {env: REAL}}}
  gitops: {repo: ssh://git@git.example.net/real.git, deployKey: {env: REAL}, knownHosts: {env: REAL}}
  secrets: [{namespace: nextcloud, name: db, data: {password: {env: REAL}}}]
`

// seeded are the objects of the seed, besides k3s' own. Nothing in a copy of the fleet makes
// backups.
var seeded = []string{
	"AppProject argocd/fleet", "Application argocd/root", "ConfigMap longhorn-system/longhorn-storageclass", "HelmChart kube-system/argocd", "HelmChart kube-system/longhorn", "HelmChartConfig kube-system/traefik",
	"HorizontalPodAutoscaler kube-system/coredns", "Namespace argocd", "Namespace longhorn-system", "Namespace nextcloud",
	"RecurringJob longhorn-system/snapshot-hourly", "RecurringJob longhorn-system/trim-weekly", "Secret nextcloud/db",
}

// charts returns the arguments for the charts that these objects name.
func charts(t *testing.T, dir string) (args []string) {
	t.Helper()
	for component, name := range map[string]string{"longhorn-chart": "longhorn", "argocd-chart": "argo-cd"} {
		data, err := imagetest.Chart(name)
		file := filepath.Join(dir, name+".tgz")
		if err := errors.Join(err, os.WriteFile(file, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--component", component+"="+file)
	}
	return args
}

func (r *rehearsal) said() string {
	text, _ := os.ReadFile(r.log.Name())
	return string(text)
}

// lab runs a command of the lab that runs.
func (r *rehearsal) lab(verb string, args ...string) string {
	r.t.Helper()
	return run(r.t, builder, append([]string{"lab", verb, "--dir", r.dir}, args...)...)
}

// TestLab: one command brings the VPS and the nodes to joined, each site behind a router of its own
// that leads to the VPS alone. Cutting off a site and switching off a server do what the plan
// promised. Other programs can reach the lab while it runs. Ctrl-C leaves nothing behind.
func TestLab(t *testing.T) {
	r, out := newRehearsal(t, "--wan", "40ms,20mbit,1%", "--cut-site", "cabin", "--pull-plug", "home-pi", "--keep")
	var result struct {
		Nodes  []lab.Row
		Drills []lab.Drill
	}
	if err := out.Decode(&result); err != nil {
		_ = r.cmd.Wait()
		t.Fatalf("%v; it said\n%s", err, r.said())
	}
	t.Logf("%s", r.said())
	r.allJoined(result.Nodes)
	if len(result.Drills) != 2 {
		t.Errorf("%+v", result.Drills)
	}
	for _, drill := range result.Drills {
		t.Logf("%+v", drill)
		if !drill.Kept || !drill.Well || !strings.Contains(drill.Promise, "2 of 3 votes are left: the cluster goes on") || strings.Contains(drill.Seen, strings.Fields(drill.What)[0]) {
			t.Errorf("%+v", drill)
		}
	}
	r.reached()
	r.hasItsPayload()
	r.apart()
	r.leavesNothing()
}

func (r *rehearsal) allJoined(nodes []lab.Row) {
	r.t.Helper()
	for _, n := range nodes {
		if n.State != lab.Joined || n.Address == "" || n.Seconds == 0 {
			r.t.Errorf("%+v", n)
		}
	}
	var rows []struct{ Node, State string }
	if err := json.Unmarshal([]byte(r.lab("status", "--json")), &rows); err != nil || len(rows) != len(nodes) {
		r.t.Fatal(err, rows)
	}
	for _, row := range rows {
		if row.State != "online" {
			r.t.Errorf("status: %+v", row)
		}
	}
}

// reached: ssh and kubectl lead into the cluster.
func (r *rehearsal) reached() {
	r.t.Helper()
	for _, name := range []string{"vps", "home-pi", "cabin-pi"} {
		if got := r.lab("ssh", name, "hostname"); strings.TrimSpace(got) != name {
			r.t.Errorf("%s calls itself %q", name, got)
		}
	}
	if got := r.lab("kubectl", "get", "nodes", "-o", "json"); !strings.Contains(got, "cabin-pi") {
		r.t.Errorf("kubectl: %s", got)
	}
	text := r.lab("ssh", "cabin-pi", "cat /boot/firmware/node.yaml")
	if !strings.Contains(text, "sealed: true") || !strings.Contains(text, "role: "+string(node.Server)) {
		r.t.Errorf("cabin-pi's node.yaml:\n%s", text)
	}
}

// hasItsPayload: the objects are in the API, the secret is that of this copy, and no card has a
// secret any longer.
func (r *rehearsal) hasItsPayload() {
	r.t.Helper()
	if realK3s(runtime.GOARCH) {
		return // it has no images for it
	}
	var got []string
	if err := json.Unmarshal([]byte(r.lab("kubectl", "get", "--raw", "/v1-standin/objects")), &got); err != nil {
		r.t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(seeded), func(name string) bool {
		return os.Getenv("AGENTS") == "" && strings.Contains(name, "longhorn")
	})
	if d := cmp.Diff(want, got); d != "" {
		r.t.Errorf("the cluster has other objects:\n%s", d)
	}
	root := r.lab("kubectl", "get", "--raw", "/v1-standin/objects?key="+url.QueryEscape("Application argocd/root"))
	if !strings.Contains(root, "https://git.invalid/") {
		r.t.Errorf("the copy follows the real repository: %s", root)
	}
	var db struct{ Data map[string][]byte }
	text := r.lab("kubectl", "get", "--raw", "/v1-standin/objects?key="+url.QueryEscape("Secret nextcloud/db"))
	if err := json.Unmarshal([]byte(text), &db); err != nil || len(db.Data["password"]) < 30 {
		r.t.Fatalf("%v, %s", err, text)
	}
	card := r.lab("ssh", "home-pi", "cat /boot/firmware/node.yaml")
	if !strings.Contains(card, "argocd-root") || strings.Contains(card, string(db.Data["password"])) || strings.Contains(card, "nextcloud") {
		r.t.Errorf("home-pi's node.yaml:\n%s", card)
	}
}

// apart: from a site, the VPS is as far away as was requested, and nothing else can be reached.
func (r *rehearsal) apart() {
	r.t.Helper()
	got := r.lab("ssh", "home-pi", "ping -c 20 -i 0.2 headscale.example.net | tail -n 1")
	m := regexp.MustCompile(`= ([0-9.]+)/`).FindStringSubmatch(got)
	if m == nil {
		r.t.Fatalf("ping: %s", got)
	}
	if least, err := strconv.ParseFloat(m[1], 64); err != nil || least < 80 || least > 1000 {
		r.t.Errorf("a round trip takes %s ms", m[1])
	}
	for _, there := range []string{"198.51.100.1", "198.51.100.2", "1.1.1.1"} {
		if got := r.lab("ssh", "home-pi", "ping -c 3 -W 2 "+there+" >/dev/null && echo reached || echo nothing"); strings.TrimSpace(got) != "nothing" {
			r.t.Errorf("home reaches %s", there)
		}
	}
	if got := r.lab("ssh", "home-pi", "tailscale ping -c 3 --until-direct=false cabin-pi || true"); !strings.Contains(got, "via DERP(own)") {
		r.t.Errorf("cabin-pi is reached otherwise than over the VPS: %s", got)
	}
}

func (r *rehearsal) leavesNothing() {
	r.t.Helper()
	if len(r.processes()) < 3 {
		r.t.Errorf("its machines are %v", r.processes())
	}
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		r.t.Fatal(err)
	}
	began := time.Now()
	if err := r.cmd.Wait(); err != nil { // with --keep, Ctrl-C is how it ends
		r.t.Errorf("it ended with %v:\n%s", err, r.said())
	}
	r.t.Logf("it ended after %v", time.Since(began).Round(time.Millisecond))
	if left := r.processes(); len(left) > 0 {
		r.t.Errorf("still running: %v", left)
	}
	for _, name := range []string{r.dir, r.dir + ".lock"} {
		if _, err := os.Lstat(name); err == nil {
			r.t.Errorf("%s is left", name)
		}
	}
}

// processes lists the processes that have a file of the lab's directory open.
func (r *rehearsal) processes() []string {
	r.t.Helper()
	all, err := fs.Glob(os.DirFS("/proc"), "[0-9]*/cmdline")
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(name string) bool {
		line, err := os.ReadFile(filepath.Join("/proc", name))
		return err != nil || !strings.Contains(string(line), r.dir+"/") || !strings.Contains(string(line), "qemu-system")
	})
}

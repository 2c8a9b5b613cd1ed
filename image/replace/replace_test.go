//go:build linux

package replace

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// member makes the server list a node of the fleet that is offline.
func member(t *testing.T, s *headscaletest.Server, f *fleet.Fleet, name string) {
	t.Helper()
	n, err := f.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	s.Register(name)
	s.Tag(name, n.Tags()...)
}

// apiServer is the stand-in for k3s on home-pi, with the fleet's authorities.
type apiServer struct {
	t                   *testing.T
	program, root, port string
	cmd                 *exec.Cmd
}

const token = "the-servers-token"

const settings = `node-name: home-pi
node-ip: 127.0.0.1
flannel-iface: lo
token-file: /etc/rancher/k3s/token
cluster-init: true
https-listen-port: %s
etcd-arg: ["listen-metrics-urls=http://127.0.0.1:%d"]
`

func newAPI(t *testing.T, f *fleet.Fleet) *apiServer {
	t.Helper()
	a := &apiServer{t: t, program: filepath.Join(t.TempDir(), "k3s"), root: t.TempDir(), port: strconv.Itoa(headscaletest.FreePort(t))}
	build := exec.Command("go", "build", "-o", a.program, "../../firstboot/standin")
	if msg, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	a.write("etc/rancher/k3s/config.yaml", fmt.Sprintf(settings, a.port, headscaletest.FreePort(t)))
	a.write("etc/rancher/k3s/token", token)
	files, err := f.Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		a.write("var/lib/rancher/k3s/server/tls/"+name, string(text))
	}
	a.start()
	t.Cleanup(a.stop)
	return a
}

func (a *apiServer) write(name, text string) {
	a.t.Helper()
	name = filepath.Join(a.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *apiServer) start() {
	a.t.Helper()
	a.cmd = exec.Command(a.program, "server")
	a.cmd.Env = append(os.Environ(), "STANDIN_ROOT="+a.root)
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); a.ask("/ping", nil) != http.StatusOK; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatal("the stand-in does not start")
		}
	}
}

func (a *apiServer) stop() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func (a *apiServer) address() string { return "127.0.0.1:" + a.port }

func (a *apiServer) ask(path string, in any) int {
	method, body := http.MethodGet, io.Reader(nil)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			a.t.Fatal(err)
		}
		method, body = http.MethodPost, bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "https://"+a.address()+path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// joins says whether k3s would accept a machine with that name and password.
func (a *apiServer) joins(name, role, password string) bool {
	return a.ask("/v1-standin/join", map[string]string{"Name": name, "IP": "127.0.0.9", "Role": role, "Password": password}) == http.StatusOK
}

// TestReplace: a dead server is removed from cluster and tailnet, once. Then a machine with
// its name is accepted, which was refused before.
func TestReplace(t *testing.T) {
	s := headscaletest.Start(t)
	f := s.NewFleet()
	a := newAPI(t, f)
	member(t, s, f, "home-pi")
	member(t, s, f, "cabin-pi")
	if !a.joins("cabin-pi", "server", "old") || a.joins("cabin-pi", "server", "new") {
		t.Fatal("the stand-in does not keep names for those who have them")
	}
	o := Options{API: a.address()}
	if _, err := Prepare(t.Context(), f, s.Client, "cabin-pi", o); err == nil || !strings.Contains(err.Error(), "cabin-pi is ready, says Kubernetes") {
		t.Errorf("Headscale calls it away, and the cluster hears of it: %v", err)
	}
	o.EvenIfOnline = true
	l, err := Prepare(t.Context(), f, s.Client, "cabin-pi", o)
	if err != nil {
		t.Fatal(err)
	}
	steps := l.Steps()
	for i, want := range []string{"Kubernetes' node cabin-pi, by which k3s takes it out of etcd", "Secret kube-system/cabin-pi.node-password.k3s", "cabin-pi (number 2) from the tailnet"} {
		if i >= len(steps) || !strings.Contains(steps[i], want) {
			t.Errorf("step %d of %q lacks %q", i, steps, want)
		}
	}
	if a.joins("cabin-pi", "server", "new") {
		t.Error("to look removed something")
	}
	if err := l.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.joins("cabin-pi", "server", "new") {
		t.Error("the new machine is turned away")
	}
	nodes, err := s.Client.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || nodes[0].GivenName != "home-pi" {
		t.Errorf("the tailnet has %+v, %v", nodes, err)
	}
	if err := l.Do(t.Context()); err != nil { // what is gone is gone
		t.Error(err)
	}
}

// TestHalfDone: after a failure in the middle, a repeated call does the rest.
func TestHalfDone(t *testing.T) {
	s := headscaletest.Start(t)
	f := s.NewFleet()
	a := newAPI(t, f)
	member(t, s, f, "cabin-box")
	a.joins("cabin-box", "agent", "old")
	a.stop()
	file := "var/lib/rancher/k3s/server/db/etcd/standin.json"
	var state map[string]any
	text, err := os.ReadFile(filepath.Join(a.root, file))
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil {
		t.Fatal(err)
	}
	delete(state["Nodes"].(map[string]any), "cabin-box") // and not its Secret, nor what Longhorn keeps
	of := func(node, volume string) any {
		return map[string]any{"metadata": map[string]any{"name": volume + "-on-" + node}, "spec": map[string]any{"nodeID": node, "volumeName": volume, "healthyAt": "2026-11-29T12:00:00Z"}}
	}
	state["Objects"] = map[string]any{
		"Node longhorn-system/cabin-box":         map[string]any{"metadata": map[string]any{"name": "cabin-box"}, "spec": map[string]any{"allowScheduling": true}},
		"Replica longhorn-system/v-on-cabin-box": of("cabin-box", "v"),
		"Replica longhorn-system/v-on-home-box":  of("home-box", "v"),
	}
	if text, err = json.Marshal(state); err != nil {
		t.Fatal(err)
	}
	a.write(file, string(text))
	a.start()
	if a.joins("cabin-box", "agent", "new") {
		t.Fatal("the Secret alone turns nobody away")
	}
	l, err := Prepare(t.Context(), f, s.Client, "cabin-box", Options{API: a.address()})
	if err != nil || len(l.Steps()) != 3 || !strings.HasPrefix(l.Steps()[2], "delete Longhorn's record of cabin-box, with its replicas") {
		t.Fatalf("%v, %v", l, err)
	}
	if err := l.Do(t.Context()); err != nil || !a.joins("cabin-box", "agent", "new") {
		t.Errorf("%v, or it is turned away", err)
	}
	if l, err = Prepare(t.Context(), f, s.Client, "cabin-box", Options{API: a.address(), EvenIfOnline: true}); err != nil || l.storage != nil {
		t.Errorf("Longhorn keeps it: %+v, %v", l, err)
	}
	if l, err = Prepare(t.Context(), f, s.Client, "cabin-box", Options{API: a.address(), ByHand: true}); err != nil || len(l.Steps()) != 0 {
		t.Errorf("once more: %v, %v", l, err)
	}
}

// TestRefusals: which nodes are not replaced, and the errors; nothing is removed.
func TestRefusals(t *testing.T) {
	s := headscaletest.Start(t)
	f := s.NewFleet()
	a := newAPI(t, f)
	o := Options{API: a.address()}
	refuses := func(f *fleet.Fleet, name string, o Options, words ...string) {
		t.Helper()
		l, err := Prepare(t.Context(), f, s.Client, name, o)
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, %v, want %q in it", name, l, err, w)
			}
		}
	}
	refuses(f, "cabin-po", o, `did you mean "cabin-pi"`)
	s.Register("home-box") // by its owner, without the fleet's tags
	refuses(f, "home-box", o, "is none of this fleet", "tag:site-home", "headscale nodes delete")

	alone := edited(t, f, "  cabin-pi: {board: rpi4, site: cabin, role: server}\n", "")
	refuses(alone, "home-pi", o, "is the only server", "flash --node home-pi")
	foreign := edited(t, f, "    ca: {file: secrets/cluster-ca.yaml}", "    #")
	refuses(foreign, "cabin-pi", o, "kubectl delete node cabin-pi", "secret cabin-pi.node-password.k3s", "--cluster-done")

	stranger := s.NewFleet() // with another authority
	refuses(stranger, "cabin-pi", o, "no server of this cluster")
	a.write("etc/rancher/k3s/standin-fail", "quorum")
	refuses(f, "cabin-pi", o, "etcdserver: request timed out", "the cluster is down")
	if nodes, err := s.Client.Nodes(t.Context()); err != nil || len(nodes) != 1 {
		t.Errorf("%v, %v", nodes, err)
	}
}

func edited(t *testing.T, f *fleet.Fleet, old, new string) *fleet.Fleet {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Dir(), fleet.FileName))
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("fleet.yaml lacks %q, %v", old, err)
	}
	other, err := fleet.Load(filepath.Join(f.Dir(), fleet.FileName), bytes.Replace(text, []byte(old), []byte(new), 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

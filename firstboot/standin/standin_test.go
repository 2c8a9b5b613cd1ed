//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/host"
)

// build compiles the stand-in.
func build(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "k3s")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	return out
}

type machine struct {
	t       *testing.T
	program string
	root    string
}

func newMachine(t *testing.T, program, config, token string) *machine {
	m := &machine{t, program, t.TempDir()}
	m.write("etc/rancher/k3s/config.yaml", config)
	m.write("etc/rancher/k3s/token", token+"\n")
	return m
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	name = filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(m.program, args...)
	cmd.Env = append(os.Environ(), "STANDIN_ROOT="+m.root)
	return cmd
}

// start runs a role and waits until systemd would be told.
func (m *machine) start(role string) {
	m.t.Helper()
	name := filepath.Join(m.root, "notify")
	_ = os.Remove(name)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	var log bytes.Buffer
	cmd := m.command(role)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+name)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != "READY=1" {
		m.t.Fatalf("told systemd %q, %v\n%s", b[:n], err, log.String())
	}
}

func (m *machine) fails(role, want string) {
	m.t.Helper()
	out, err := m.command(role).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "STAND-IN") {
		m.t.Errorf("%v, want %q:\n%s", err, want, out)
	}
}

const serverYAML = `node-name: home-pi
node-ip: 127.0.0.1
advertise-address: 127.0.0.1
flannel-iface: lo
token-file: /etc/rancher/k3s/token
node-label: [topology.kubernetes.io/zone=home]
kubelet-arg: [volume-plugin-dir=/x]
cluster-init: true
`

const agentYAML = `node-name: home-box
node-ip: 127.0.0.1
flannel-iface: lo
server: https://127.0.0.1:6443
token-file: /etc/rancher/k3s/token
`

func TestServerAndAgent(t *testing.T) {
	program := build(t)
	server := newMachine(t, program, serverYAML+"agent-token-file: /etc/rancher/k3s/agent-token\n", "server-token")
	server.write("etc/rancher/k3s/agent-token", "agent-token")
	server.start("server")
	agent := newMachine(t, program, agentYAML, "agent-token")
	agent.start("agent")
	for _, q := range [][]string{
		{"--kubeconfig", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig", "--request-timeout", "10s", "get", "node", "home-box", "-o", "json"},
		{"--kubeconfig", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig", "get", "node", "home-pi", "-o", "json"},
	} {
		out, err := agent.command(append([]string{"kubectl"}, q...)...).Output()
		if err != nil || !strings.Contains(string(out), `"type":"Ready"`) || !strings.Contains(string(out), "standin") || !strings.Contains(string(out), "k3s.io/node-args") {
			t.Errorf("%v: %s, %v", q, out, err)
		}
	}
	out, err := server.command("kubectl", "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", "get", "--raw", "/readyz").Output()
	if err != nil || string(out) != "ok" {
		t.Errorf("readyz: %s, %v", out, err)
	}
	for m, conf := range map[*machine]string{server: "/etc/rancher/k3s/k3s.yaml", agent: "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"} {
		out, err := host.New(m.root, nil).Net.API(t.Context(), conf, "/readyz")
		if err != nil || string(out) != "ok" {
			t.Errorf("firstboot asks with %s: %s, %v", conf, out, err)
		}
	}
	newMachine(t, program, agentYAML, "wrong").fails("agent", "not authorized")
	newMachine(t, program, agentYAML, "agent-token").fails("agent", "Node password rejected")
}

func TestRefusals(t *testing.T) {
	program := build(t)
	for want, config := range map[string]string{
		"flag provided but not defined: -nonsense":     serverYAML + "nonsense: 1\n",
		"takes one value, not a list":                  serverYAML + "data-dir: [a, b]\n",
		"cannot set cluster-init and server":           serverYAML + "server: https://127.0.0.1:1\n",
		"unable to find interface nosuch0":             strings.Replace(serverYAML, "flannel-iface: lo", "flannel-iface: nosuch0", 1),
		"interface lo does not have the address 192.0": strings.Replace(serverYAML, "node-ip: 127.0.0.1", "node-ip: 192.0.2.250", 1),
	} {
		newMachine(t, program, config, "t").fails("server", want)
	}
	newMachine(t, program, agentYAML+"cluster-init: true\n", "t").fails("agent", "not defined: -cluster-init")
	open := newMachine(t, program, serverYAML, "t")
	if err := os.Chmod(filepath.Join(open.root, "etc/rancher/k3s/token"), 0o644); err != nil {
		t.Fatal(err)
	}
	open.fails("server", "can be read by others")
	broken := newMachine(t, program, serverYAML, "t")
	broken.write("etc/rancher/k3s/standin-fail", "crash")
	broken.fails("server", "leaderelection lost")
	told := newMachine(t, program, serverYAML, "t")
	told.write("etc/rancher/k3s/standin-fail", "start\n")
	told.fails("server", "told to fail")
}

// TestTroubles: a running server that is told to be slow or to hang, and recovers.
func TestTroubles(t *testing.T) {
	server := newMachine(t, build(t), serverYAML, "t")
	server.start("server")
	asks := func(limit time.Duration) (time.Duration, error) {
		cmd, began := server.command("kubectl", "get", "--raw", "/readyz"), time.Now()
		timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		err := cmd.Run()
		return time.Since(began), err
	}
	if took, err := asks(time.Minute); err != nil || took > 3*time.Second {
		t.Fatalf("well: after %v: %v", took, err)
	}
	server.write("etc/rancher/k3s/standin-fail", "slow")
	if took, err := asks(time.Minute); err != nil || took < 4*time.Second {
		t.Errorf("slow: after %v: %v", took, err)
	}
	server.write("etc/rancher/k3s/standin-fail", "hang")
	if _, err := asks(2 * time.Second); err == nil {
		t.Error("it hangs and answers")
	}
	server.write("etc/rancher/k3s/standin-fail", "")
	if took, err := asks(time.Minute); err != nil || took > 3*time.Second {
		t.Errorf("well again: after %v: %v", took, err)
	}
}

// upstream is the server that a witness joins. It reports only itself, and at first not even that.
func upstream(t *testing.T, open *atomic.Bool) *httptest.Server {
	t.Helper()
	credential, err := issue(&x509.Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !open.Load():
			http.Error(w, "starting", http.StatusServiceUnavailable)
		case r.URL.Path == "/cacerts":
			fmt.Fprint(w, "no certificate")
		default:
			_ = json.NewEncoder(w).Encode(welcome{Cluster: "c1", Credential: credential, Nodes: map[string]*member{"home-pi": {hello: hello{Name: "home-pi", IP: "127.0.0.9", Role: "server"}}}})
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// TestWitness: until a server answers, it has neither a vote nor a kubeconfig,
// and it never has an API.
func TestWitness(t *testing.T) {
	var open atomic.Bool
	s := upstream(t, &open)
	m := newMachine(t, build(t), "node-name: vps\nnode-ip: 127.0.0.1\nflannel-iface: lo\ntoken-file: /etc/rancher/k3s/token\nserver: "+s.URL+"\ndisable-apiserver: true\netcd-arg: [heartbeat-interval=500]\n", "t")
	cmd := m.command("server")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	kubeconfig := func() bool {
		_, err := os.Stat(filepath.Join(m.root, "var/lib/rancher/k3s/agent/kubelet.kubeconfig"))
		return err == nil
	}
	votes := func() string {
		resp, err := http.Get("http://127.0.0.1:2381/readyz")
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.Status + " " + string(b)
	}
	until(t, "it says that it does not vote", func() bool {
		return strings.HasPrefix(votes(), "503 ") && strings.Contains(votes(), "[-]linearizable_read")
	})
	if kubeconfig() {
		t.Error("it has a kubeconfig that nobody gave it")
	}
	open.Store(true)
	until(t, "it votes and has a kubeconfig", func() bool { return strings.HasPrefix(votes(), "200 ") && kubeconfig() })
	insecure := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := insecure.Get("https://127.0.0.1:6443/readyz")
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("its API: %v, %v", resp, err)
	}
	server, _, _ := readKubeconfig(filepath.Join(m.root, "var/lib/rancher/k3s/agent/kubelet.kubeconfig"))
	if server != s.URL {
		t.Errorf("its kubelet asks %s, want %s", server, s.URL)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// TestAPasswordThatIsNotKnown: a password that the joined server does not know is removed here. It
// does not become the empty password, which matches no node.
func TestAPasswordThatIsNotKnown(t *testing.T) {
	c := &cluster{file: filepath.Join(t.TempDir(), "db.json"), ID: "one",
		Nodes: map[string]*member{}, Passwords: map[string]string{"removed": "old", "kept": "old", "own": "mine"}}
	seen := func(names ...string) map[string]*member {
		nodes := map[string]*member{}
		for _, name := range names {
			nodes[name] = &member{Seen: time.Now()}
		}
		return nodes
	}
	w := welcome{Cluster: "one", Nodes: seen("removed", "kept", "new"), Passwords: map[string]string{"kept": "changed"}}
	if err := c.adopt(w); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"kept": "changed", "own": "mine"}; !maps.Equal(c.Passwords, want) {
		t.Errorf("%q, want %q", c.Passwords, want)
	}
}

// TestTheCertificateFollowsTheAddress: a node that joins the tailnet anew has another address, and
// clients that trusted the server still do.
func TestTheCertificateFollowsTheAddress(t *testing.T) {
	was := root
	root = t.TempDir()
	t.Cleanup(func() { root = was })
	var trusted []byte
	for _, ip := range []string{"100.64.0.1", "100.64.0.2"} {
		n := &self{settings: settings{"node-ip": {ip}}, data: "/data"}
		cert, err := n.certificate()
		if err != nil {
			t.Fatal(err)
		}
		if trusted == nil {
			if trusted, _, err = n.authorities(); err != nil {
				t.Fatal(err)
			}
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(trusted)
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: ip}); err != nil {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

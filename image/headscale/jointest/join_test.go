//go:build linux

// Package jointest lets firstboot's tailnet step join a real Headscale with a
// real tailscaled, both built from their pinned modules, on loopback.
package jointest

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// machine is one node: a root directory, a tailscaled, and the tailnet step.
type machine struct {
	t       *testing.T
	dir     string
	cfg     node.Config
	daemon  *exec.Cmd
	tailnet *host.Tailnet
	log     bytes.Buffer
}

func program(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := fetch.OpenCache(filepath.Join(dir, "imagebuilder-test", "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	r, err := component.Resolve(context.Background(), cache, "tailscale", runtime.GOARCH, component.Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	return extract(t, r)
}

func extract(t *testing.T, r *component.Resolved) string {
	for _, n := range r.Nodes {
		if n.Path != "usr/sbin/tailscaled" {
			continue
		}
		in, err := n.Content.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		name := filepath.Join(t.TempDir(), "tailscaled")
		out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		_, err = out.ReadFrom(in)
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
		return name
	}
	t.Fatal("no tailscaled among the component's files")
	return ""
}

func newMachine(t *testing.T, name string, s *headscaletest.Server, key secret.String) *machine {
	dir, err := os.MkdirTemp("", "ts") // a short path for the socket
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir, tailnet: &host.Tailnet{Socket: dir + "/sock", State: dir}, cfg: node.Config{
		Version: 1, Node: name, Site: "site-a", Role: node.Agent,
		Headscale: node.Headscale{URL: s.URL, AuthKey: key},
		K3s:       node.K3s{Servers: []string{"other"}, AgentToken: "t"},
	}}
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			t.Logf("%s's tailscaled:\n%s", name, m.log.String()[max(0, m.log.Len()-3000):])
		}
		os.RemoveAll(dir)
	})
	return m
}

func (m *machine) start(program string) {
	m.t.Helper()
	m.daemon = exec.Command(program, "--no-logs-no-support", "--tun=userspace-networking", "--port=0",
		"--state="+m.dir+"/state", "--statedir="+m.dir, "--socket="+m.dir+"/sock")
	m.daemon.Env = append(os.Environ(), "TS_DEBUG_USE_DERP_HTTP=1", "TS_NO_LOGS_NO_SUPPORT=true")
	m.daemon.Stdout, m.daemon.Stderr = &m.log, &m.log
	m.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.daemon.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// kill is a power cut.
func (m *machine) kill() {
	if m.daemon != nil {
		_ = m.daemon.Process.Kill()
		_ = m.daemon.Wait()
		m.daemon = nil
	}
}

func (m *machine) host() firstboot.Host {
	h := host.New(m.dir, nil)
	h.Tailnet = m.tailnet
	h.Units = running{}
	h.Net = linked{h.Net}
	return h
}

// running is a systemd whose units all run: the test starts tailscaled.
type running struct{ firstboot.Units }

func (running) Active(context.Context, string) (bool, error) { return true, nil }

// linked is a network that needs no real port.
type linked struct{ firstboot.Net }

func (linked) Links(context.Context) ([]firstboot.Link, error) {
	return []firstboot.Link{{Name: "eth0", Carrier: true, Addresses: headscaletest.Loopback}}, nil
}

// pass runs the tailnet step once and returns the problem's code, "" if there
// is none.
func (m *machine) pass() string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	m.personalise()
	err := firstboot.Run(ctx, m.host(), firstboot.Options{Only: []string{"tailnet"}}, func(firstboot.Status) {})
	var p *firstboot.Problem
	if !errors.As(err, &p) {
		if err != nil {
			m.t.Fatal(err)
		}
		return ""
	}
	m.t.Logf("%s: %s: %v", m.cfg.Node, p.Code, err)
	if key := m.cfg.Headscale.AuthKey.Reveal(); key != "" && strings.Contains(err.Error(), key) {
		m.t.Error("the error shows the key")
	}
	return p.Code
}

// personalise puts node.yaml onto the boot partition.
func (m *machine) personalise() {
	m.t.Helper()
	text, err := node.Marshal(&m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	boot := filepath.Join(m.dir, contract.BootDir)
	if err := errors.Join(os.MkdirAll(boot, 0o755), os.WriteFile(filepath.Join(boot, node.FileName), text, 0o600)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) want(code string) {
	m.t.Helper()
	if got := m.pass(); got != code {
		m.t.Fatalf("problem %q, want %q", got, code)
	}
}

func nodes(t *testing.T, s *headscaletest.Server) map[string]headscale.Node {
	t.Helper()
	list, err := s.Client.Nodes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]headscale.Node{}
	for _, n := range list {
		out[n.GivenName] = n
	}
	return out
}

// TestServerFaults: a fault on the server's side uses up no key and calls for no person.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	tailscaled := program(t)
	s := headscaletest.Start(t)
	t.Run("a locked database", func(t *testing.T) {
		m := newMachine(t, "home-pi", s, s.Key("tag:site-a", time.Hour).Key)
		m.start(tailscaled)
		unlock := s.LockDatabase()
		m.want("login-failed")
		m.want("login-failed") // another pass does not abort a request that the server may still grant
		time.AfterFunc(5*time.Second, unlock)
		time.Sleep(2 * time.Second) // so that tailscaled is asking
		code := "login-failed"
		for range 5 {
			if code = m.pass(); code != "login-failed" {
				break
			}
		}
		if code != "" {
			t.Errorf("unlocked: %q", code)
		}
	})
	t.Run("a key that is no good is not tried again", func(t *testing.T) {
		m := newMachine(t, "home-box", s, "hskey-auth-AAAAAAAAAAAA-"+secret.String(strings.Repeat("b", 64)))
		m.start(tailscaled)
		m.want("key-unknown")
		tried := strings.Count(m.log.String(), "RegisterReq: onode")
		time.Sleep(10 * time.Second)
		if again := strings.Count(m.log.String(), "RegisterReq: onode"); tried == 0 || again != tried {
			t.Errorf("tried %d times, then %d", tried, again)
		}
	})
	t.Run("a page of a proxy", func(t *testing.T) {
		m := newMachine(t, "cabin-pi", s, s.Key("tag:site-a", time.Hour).Key)
		var open atomic.Bool
		m.cfg.Headscale.URL = proxy(t, s.URL, &open)
		m.start(tailscaled)
		m.want("login-failed")
		open.Store(true)
		m.want("")
	})
}

// proxy stands before a Headscale and lets nothing but the question for its
// key through until it is open.
func proxy(t *testing.T, to string, open *atomic.Bool) string {
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(u)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/key" || open.Load() {
			pass.ServeHTTP(w, r)
			return
		}
		http.Error(w, "<html><body>502 Bad Gateway: upstream not found, key expired</body></html>", http.StatusBadGateway)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestJoin(t *testing.T) {
	t.Parallel()
	tailscaled := program(t)
	s := headscaletest.Start(t)
	first := s.Key("tag:site-a", time.Hour)

	a := newMachine(t, "home-pi", s, first.Key)
	a.start(tailscaled)
	a.want("")
	n, ok := nodes(t, s)["home-pi"]
	if !ok || len(n.Tags) != 1 || n.Tags[0] != "tag:site-a" || n.KeyID != first.ID || !n.Expiry.IsZero() {
		t.Fatalf("listed as %+v", n)
	}
	keys, err := s.Client.ListKeys(context.Background())
	if err != nil || len(keys) != 1 || !keys[0].Used {
		t.Fatalf("keys: %+v, %v", keys, err)
	}

	t.Run("a restart needs no key", func(t *testing.T) {
		a.cfg.Headscale.AuthKey, a.cfg.Sealed = "", true
		a.kill()
		a.start(tailscaled)
		a.want("")
	})
	t.Run("a restart needs no server", func(t *testing.T) {
		a.kill()
		s.Stop()
		a.start(tailscaled)
		a.want("")
		st, err := a.host().Tailnet.Status(context.Background())
		if err != nil || len(st.IPs) == 0 || st.IPs[0] != n.Addresses[0] {
			t.Errorf("status %+v, %v", st, err)
		}
		s.Run()
	})
	t.Run("bad keys, then a good one", func(t *testing.T) {
		b := newMachine(t, "cabin-pi", s, first.Key)
		b.start(tailscaled)
		b.want("key-spent")
		short := s.Key("tag:site-b", 2*time.Second)
		time.Sleep(3 * time.Second)
		b.cfg.Headscale.AuthKey = short.Key
		b.want("key-expired")
		b.cfg.Headscale.AuthKey = "hskey-auth-AAAAAAAAAAAA-" + secret.String(strings.Repeat("b", 64))
		b.want("key-unknown")
		b.cfg.Headscale.AuthKey = "nonsense"
		b.want("key-unknown")
		b.cfg.Headscale.AuthKey = ""
		b.want("key-missing")
		b.cfg.Headscale.AuthKey = s.Key("tag:site-b", time.Hour).Key
		b.want("")
		peers, err := b.host().Tailnet.Status(context.Background())
		if err != nil || len(peers.Peers) != 1 || peers.Peers[0].Name != "home-pi" {
			t.Fatalf("peers %+v, %v", peers.Peers, err)
		}
		if own, other := peers.Tags, peers.Peers[0].Tags; !slices.Equal(own, []string{"tag:site-b"}) || !slices.Equal(other, []string{"tag:site-a"}) {
			t.Errorf("tags %q and %q: what a server is told by is lost", own, other)
		}
	})
	t.Run("two nodes of one name", func(t *testing.T) {
		c := newMachine(t, "home-pi", s, s.Key("tag:site-a", time.Hour).Key)
		c.start(tailscaled)
		c.want("name-taken")
		if err := s.Client.DeleteNode(context.Background(), n.ID); err != nil {
			t.Fatal(err)
		}
		for given, other := range nodes(t, s) {
			if given != "cabin-pi" {
				s.Rename(other.ID, "home-pi")
			}
		}
		for end := time.Now().Add(30 * time.Second); c.pass() != ""; time.Sleep(time.Second) {
			if time.Now().After(end) {
				t.Fatal("the new name does not arrive")
			}
		}
	})
	t.Run("a deleted node asks for a key", func(t *testing.T) {
		a.kill()
		a.start(tailscaled)
		code := ""
		for end := time.Now().Add(60 * time.Second); code == "" && time.Now().Before(end); time.Sleep(time.Second) {
			code = a.pass()
		}
		if code != "key-lost" {
			t.Fatalf("problem %q", code)
		}
		a.cfg.Headscale.AuthKey = s.Key("tag:site-a", time.Hour).Key
		if code := a.pass(); code != "name-taken" && code != "" {
			t.Errorf("with a new key: %q", code)
		}
	})
	t.Run("a server that is down", func(t *testing.T) {
		d := newMachine(t, "late", s, s.Key("tag:site-a", time.Hour).Key)
		s.Stop()
		d.start(tailscaled)
		d.want("unreachable")
		s.Run()
		d.want("")
	})
	t.Run("a wrong address", func(t *testing.T) {
		e := newMachine(t, "lost", s, "hskey-auth-x")
		e.start(tailscaled)
		e.cfg.Headscale.URL = headscaletest.OtherServer(t)
		e.want("not-headscale")
		e.cfg.Headscale.URL = "https://no-such-name.invalid"
		if code := e.pass(); code != "unknown-host" && code != "dns-down" {
			t.Errorf("problem %q", code)
		}
	})
}

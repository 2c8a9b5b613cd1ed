package replace

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/kube"
)

// list is a Headscale that is only asked for its list.
type list struct {
	nodes []headscale.Node
	err   error
}

func (l list) Nodes(context.Context) ([]headscale.Node, error) { return l.nodes, l.err }
func (l list) DeleteNode(context.Context, headscale.ID) error  { return errors.New("it deletes") }

const voters = `version: 1
cluster:
  name: shed
  headscale:
    url: https://hs.example.org
    server: {hostKey: {file: a}, loginKey: {file: b}}
  k3s: {token: {env: T}, agentToken: {env: A}}
sites: {home: {}, cabin: {}, cloud: {}}
nodes:
  home-pi: {board: rpi4, site: home, role: server}
  cabin-pi: {board: rpi4, site: cabin, role: server}
  vps: {board: generic-arm64, site: cloud, role: %s}
`

func withVPS(t *testing.T, role string) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), fmt.Appendf(nil, voters, role), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func tagged(f *fleet.Fleet, online bool, name string) headscale.Node {
	n, _ := f.Find(name)
	return headscale.Node{ID: "7", Name: name, GivenName: name, Tags: n.Tags(), Online: online}
}

// TestOnline: a node that is alive is not replaced, unless the owner knows better.
func TestOnline(t *testing.T) {
	f := withVPS(t, "[control, witness]")
	here := list{nodes: []headscale.Node{tagged(f, true, "cabin-pi")}}
	gone := list{err: errors.New("no answer")}
	refuses := func(err error) list { return list{err: fmt.Errorf("headscale: GET /api/v1/node: %w", err)} }
	for _, c := range []struct {
		name   string
		server list
		o      Options
		want   string // "" is no error
	}{
		{"cabin-pi", here, Options{ByHand: true}, "cabin-pi is online: switch it off first"},
		{"cabin-pi", here, Options{ByHand: true, EvenIfOnline: true}, ""},
		{"cabin-pi", gone, Options{ByHand: true}, "no answer"},
		{"vps", here, Options{ByHand: true}, "vps is online"}, // it answers
		{"vps", refuses(headscale.ErrUnauthorized), Options{ByHand: true}, "vps is online"},
		{"vps", refuses(headscale.ErrNotFound), Options{ByHand: true}, "vps is online"},
		{"vps", refuses(&headscale.APIError{Status: 500}), Options{ByHand: true}, "vps is online"},
		{"vps", refuses(headscale.ErrUnauthorized), Options{ByHand: true, EvenIfOnline: true}, ""}, // it is a stranger's
		{"vps", gone, Options{ByHand: true}, ""},
	} {
		_, err := Prepare(t.Context(), f, c.server, c.name, c.o)
		if got := fmt.Sprint(err); (err == nil) != (c.want == "") || !strings.Contains(got, c.want) && err != nil {
			t.Errorf("%s %+v: %v, want %q", c.name, c.o, err, c.want)
		}
	}
}

// TestABadCertificate: a server with a bad certificate, or without one, is alive. A voter is
// not removed from etcd because its Headscale's certificate has expired.
func TestABadCertificate(t *testing.T) {
	f := withVPS(t, "[control, witness]")
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	none, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none yet") }})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	go func() { _ = (&http.Server{ErrorLog: log.New(io.Discard, "", 0)}).Serve(none) }()
	for _, at := range []string{untrusted.URL, "https://" + none.Addr().String()} {
		c, err := headscale.New(at, "key", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = Prepare(t.Context(), f, c, "vps", Options{ByHand: true})
		if err == nil || !strings.Contains(err.Error(), "vps is online") || strings.Contains(err.Error(), "imagebuilder apply vps --risky") != (at == untrusted.URL) {
			t.Errorf("%s: %v", at, err)
		}
		if _, err := Prepare(t.Context(), f, c, "vps", Options{ByHand: true, EvenIfOnline: true}); err != nil {
			t.Errorf("%s, and the owner knows better: %v", at, err)
		}
	}
}

// TestLooksAgain: what was checked before a long build and a question is checked again, and
// no member is removed that was not shown.
func TestLooksAgain(t *testing.T) {
	f := withVPS(t, "witness")
	for want, change := range map[string]func(*list){
		"it deletes":   func(*list) {},
		"is online":    func(s *list) { s.nodes[0].Online = true },
		"(number 8)":   func(s *list) { s.nodes[0].ID = "8" },
		"none of this": func(s *list) { s.nodes[0].Tags = nil },
		"not there":    func(s *list) { s.err = errors.New("not there") },
	} {
		s := &list{nodes: []headscale.Node{tagged(f, false, "cabin-pi")}}
		l, err := Prepare(t.Context(), f, s, "cabin-pi", Options{ByHand: true})
		if err != nil {
			t.Fatal(err)
		}
		if change(s); !strings.Contains(fmt.Sprint(l.Do(t.Context())), want) {
			t.Errorf("%v, want %q", l.Do(t.Context()), want)
		}
	}
	s := &list{nodes: []headscale.Node{tagged(f, false, "cabin-pi")}}
	l, err := Prepare(t.Context(), f, s, "cabin-pi", Options{ByHand: true})
	if s.nodes = nil; err != nil || l.Do(t.Context()) != nil {
		t.Error("what is gone by itself is a fault", err)
	}
}

// TestQuorum: two voters, one of them dead, are distinguished from two of three whose API
// fails for another reason, and the error says what to do.
func TestQuorum(t *testing.T) {
	for _, c := range []struct {
		role   string // of a third node
		online []string
		want   []string
		never  string
	}{
		{"agent", []string{"home-pi"}, []string{"etcd needs 2 of its 2 voters (home-pi, cabin-pi), and only home-pi is online", "ssh root@home-pi", "(umask 077; sed '/^server:/d' /etc/rancher/k3s/config.yaml >/run/reset.yaml)\n", "k3s server --config /run/reset.yaml --cluster-reset\n  rm /run/reset.yaml\n"}, "vps"},
		{"witness", []string{"home-pi"}, []string{"etcd needs 2 of its 3 voters (home-pi, cabin-pi, vps), and only home-pi is online"}, "kubectl"},
		{"witness", []string{"vps"}, []string{"only vps is online", "no server is left that could go on alone"}, "ssh root"},
		{"witness", []string{"home-pi", "vps"}, []string{"answers at none"}, "quorum"},
		{"agent", []string{"home-pi", "cabin-pi"}, []string{"only home-pi"}, "and cabin-pi"}, // it is the one to be replaced
		{"agent", nil, []string{"the cluster is down"}, "quorum"},
	} {
		f := withVPS(t, c.role)
		n, _ := f.Find("cabin-pi")
		l := &Leave{fleet: f, name: "cabin-pi", node: n, tailnet: []headscale.Node{}}
		for _, name := range c.online {
			l.tailnet = append(l.tailnet, tagged(f, true, name))
		}
		err := l.silent(fmt.Errorf("%w\n  home-pi at home-pi:6443: no answer in time", kube.ErrSilent))
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s %v: %v\nwant %q in it", c.role, c.online, err, w)
			}
		}
		if strings.Contains(err.Error(), c.never) {
			t.Errorf("%s %v: %v\nmust not have %q", c.role, c.online, err, c.never)
		}
	}
}

// TestResetKeepsK3sDown: tailscaled upholds k3s, so systemd starts it again at once when it
// is stopped, unless a condition of its unit is not met.
func TestResetKeepsK3sDown(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"etc/rancher/k3s/config.yaml": "server: https://a\ntoken: t\n",
		"etc/rancher/k3s/k3s.env":     "K3S_ROLE=server\n",
		"bin/systemctl":               "#!/bin/sh\ncase \"$*\" in stop*k3s) test -e " + dir + "/etc/rancher/k3s/k3s.env && touch " + dir + "/up;; start*) touch " + dir + "/up;; esac; true\n",
		"bin/k3s":                     "#!/bin/sh\ntest ! -e " + dir + "/up && cp \"$3\" " + dir + "/did\n",
		"run/x":                       "",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	f := withVPS(t, "agent")
	_, steps, _ := strings.Cut((&Leave{fleet: f, name: "cabin-pi"}).reset([]string{"home-pi"}), "ssh root@home-pi\n")
	steps, _, _ = strings.Cut(steps, "Then do this again")
	for _, at := range []string{"/etc/", "/run/"} {
		steps = strings.ReplaceAll(steps, at, dir+at)
	}
	sh := exec.Command("sh", "-eu", "-c", steps)
	sh.Env = []string{"PATH=" + dir + "/bin:" + os.Getenv("PATH")}
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("k3s ran, or %v: %s", err, out)
	}
	did, _ := os.ReadFile(dir + "/did")
	left, err := os.ReadFile(dir + "/etc/rancher/k3s/k3s.env")
	if string(did) != "token: t\n" || string(left) != "K3S_ROLE=server\n" {
		t.Errorf("reset with %q; %q is left, %v", did, left, err)
	}
}

// TestAdvice: a new card beside the old data disk would be the old node.
func TestAdvice(t *testing.T) {
	f := withVPS(t, "server, dataDisk: {model: \"*T7*\"}")
	for name, want := range map[string]bool{"vps": true, "cabin-pi": false} {
		l, err := Prepare(t.Context(), f, list{}, name, Options{ByHand: true})
		if err != nil || strings.Contains(l.Advice(), "must be an empty one") != want {
			t.Errorf("%s: %v, %q", name, err, l.Advice())
		}
	}
}

// TestAdviceOnVolumes: volumes on an encrypted node's disk cannot be read by the new node.
func TestAdviceOnVolumes(t *testing.T) {
	const disk = "witness}\n  box: {board: optiplex-7050, site: home, role: agent, longhorn: {disk: /dev/disk/by-id/usb-1}"
	for encrypt, want := range map[string]string{"": "", ", storage: {encrypt: true}": "its disk for volumes (/dev/disk/by-id/usb-1) must be an empty one"} {
		l, err := Prepare(t.Context(), withVPS(t, disk+encrypt), list{}, "box", Options{ByHand: true})
		if err != nil || !strings.HasPrefix(l.Advice(), want) || want == "" && l.Advice() != "" {
			t.Errorf("%q: %v, %q", encrypt, err, l.Advice())
		}
	}
}

// TestAdviceOnOnlyReplicas: where a disk may have all that there is of a volume, Longhorn is
// told nothing by this command, and the person how to.
func TestAdviceOnOnlyReplicas(t *testing.T) {
	l, err := Prepare(t.Context(), withVPS(t, "witness}\n  box: {board: optiplex-7050, site: home, role: agent, longhorn: {disk: /dev/disk/by-id/usb-1}"), list{}, "box", Options{ByHand: true})
	if err != nil {
		t.Fatal(err)
	}
	l.storage = &kube.Storage{Only: []string{"pvc-1-r-2 of pvc-1"}}
	if got := l.Advice(); !strings.Contains(got, "pvc-1-r-2 of pvc-1. With its old disk for volumes (/dev/disk/by-id/usb-1) the new box has them again. ") || !strings.Contains(got, "  kubectl -n longhorn-system delete nodes.longhorn.io box") {
		t.Errorf("%q", got)
	}
	if steps := l.Steps(); len(steps) > 0 || l.forgetStorage(t.Context()) != nil {
		t.Errorf("%q", steps)
	}
	l.node.Longhorn.Disk = node.Disk{}
	if got := l.Advice(); strings.Contains(got, "has them again") {
		t.Errorf("a disk that the new card makes empty: %q", got)
	}
	l.storage.Only = nil
	if got := l.Advice(); got != "" {
		t.Errorf("%q", got)
	}
}

// TestWays: by name, and at every tailnet address of the other servers.
func TestWays(t *testing.T) {
	f := withVPS(t, "witness")
	l := &Leave{fleet: f, name: "cabin-pi"}
	for name, addresses := range map[string][]string{"home-pi": {"100.64.0.1", "fd7a:115c:a1e0::1"}, "cabin-pi": {"100.64.0.2"}, "vps": {"100.64.0.3"}} {
		m := tagged(f, true, name)
		for _, a := range addresses {
			m.Addresses = append(m.Addresses, netip.MustParseAddr(a))
		}
		l.tailnet = append(l.tailnet, m)
	}
	want := "[{home-pi home-pi:6443} {home-pi 100.64.0.1:6443} {home-pi [fd7a:115c:a1e0::1]:6443}]" // a witness has no API
	if got := fmt.Sprint(l.ways(Options{})); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := fmt.Sprint(l.ways(Options{API: "10.0.0.1:6443"})); got != "[{the server 10.0.0.1:6443}]" {
		t.Error(got)
	}
}

package firstboot_test

import (
	"encoding/pem"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

const tlsDir = "/var/lib/rancher/k3s/server/tls/"

// withIdentity gives node.yaml an identity made at home.
func withIdentity(t *testing.T) string {
	t.Helper()
	c, err := node.Load("node.yaml", []byte(initYAML))
	if err != nil {
		t.Fatal(err)
	}
	c.K3s.CA = map[string]secret.String{}
	for _, name := range contract.ClusterCAFiles() {
		text := pem.EncodeToMemory(&pem.Block{Type: "TEST", Headers: map[string]string{"Name": "planted " + name}})
		c.K3s.CA[name] = secret.String(text)
	}
	out, err := node.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestClusterIdentity: the authorities are there, for root alone, before k3s
// starts for the first time; they leave the boot partition; and they are never
// laid again once there is a data store.
func TestClusterIdentity(t *testing.T) {
	w := newWorld(t, withIdentity(t))
	deferK3s(w)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	for _, name := range contract.ClusterCAFiles() {
		e := w.files[tlsDir+name]
		if e == nil || e.mode != 0o600 || !strings.Contains(string(e.data), "planted "+name) {
			t.Fatalf("%s: %v", name, e)
		}
	}
	for name, e := range w.files {
		if strings.Contains(string(e.data), "planted") && !strings.HasPrefix(name, tlsDir) {
			t.Errorf("%s holds a part of the cluster's identity", name)
		}
	}
	laid, started := call(w, "put "+tlsDir+"server-ca.crt"), call(w, "restart k3s.service")
	if laid < 0 || started < 0 || laid > started {
		t.Errorf("laid at call %d, k3s started at %d", laid, started)
	}
	w.personalise(strings.Replace(withIdentity(t), "max-pods=50", "max-pods=60", 1)) // the card written again
	w.files[tlsDir+"server-ca.crt"].data = []byte("renewed")
	w.reboot()
	w.boot(nil)
	if got := string(w.files[tlsDir+"server-ca.crt"].data); got != "renewed" {
		t.Errorf("a founded cluster got another authority: %q", got)
	}
	if !strings.Contains(string(w.files["/etc/rancher/k3s/config.yaml"].data), "max-pods=60") {
		t.Error("k3s' settings were not looked at again")
	}
}

func call(w *world, name string) int {
	for i, n := range w.names {
		if n == name {
			return i
		}
	}
	return -1
}

// TestJoiningServerLaysNone: where a cluster lives, its identity comes from
// there, whatever a card says.
func TestJoiningServerLaysNone(t *testing.T) {
	w := newWorld(t, withIdentity(t))
	deferK3s(w)
	w.peers, w.alive[cabin] = peer, true
	if s, _ := w.boot(nil); s.State != firstboot.Joined || w.joins != 1 {
		t.Fatalf("%s, %d joins", s.Line(), w.joins)
	}
	for name := range w.files {
		if strings.HasPrefix(name, tlsDir) {
			t.Errorf("%s was laid", name)
		}
	}
}

// TestIdentityIsWhole: whenever the power goes while it is laid, k3s never
// starts with a part of it: it would make up the rest.
func TestIdentityIsWhole(t *testing.T) {
	for n := range contract.ClusterCAFiles() {
		for _, f := range []fault{cut, cutEnd, before} {
			w := newWorld(t, withIdentity(t))
			deferK3s(w)
			seen := 0
			w.fault = func(_ int, name string) fault {
				if strings.HasPrefix(name, "put "+tlsDir) {
					if seen++; seen == n+1 {
						return f
					}
				}
				return none
			}
			finish(t, w)
			for _, name := range contract.ClusterCAFiles() {
				if e := w.files[tlsDir+name]; e == nil || !strings.Contains(string(e.data), "planted "+name) {
					t.Fatalf("fault at file %d: %s is missing", n+1, name)
				}
			}
		}
	}
}

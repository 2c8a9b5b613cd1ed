package firstboot_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestNoTokenNoK3s: a server that lost its token's file must not start k3s,
// which would make up a token of its own and a cluster with it.
func TestNoTokenNoK3s(t *testing.T) {
	w := crashWorld(t)
	w.boot(nil)
	for name := range w.files {
		if strings.HasPrefix(name, "/etc/rancher/") || strings.HasPrefix(name, "/var/lib/rancher/") {
			delete(w.files, name)
		}
	}
	delete(w.files, "/etc/systemd/system/tailscaled.service.d/20-imagebuilder-k3s.conf")
	w.reboot()
	clusters := w.clusters
	s, _ := w.boot(needsPerson)
	if s.Problem == nil || s.Problem.Code != "token-missing" {
		t.Fatal(s.Line())
	}
	if w.units["k3s.service"] || w.clusters != clusters {
		t.Error("k3s was started without a token")
	}
}

// TestSyncBeforeSeal: k3s writes without fsync. Before the only copy of a
// secret goes, what was made with it is on the medium.
func TestSyncBeforeSeal(t *testing.T) {
	w := crashWorld(t)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	sync, erased := slices.Index(w.names, "sync /var"), slices.Index(w.names, "overwrite /boot/firmware/node.yaml")
	if erased < 0 || sync < 0 || sync > erased {
		t.Errorf("/var was synced at call %d, node.yaml written over at %d", sync, erased)
	}
}

// TestFirstSealPass: the sealed text may be cut off anywhere, and then nothing
// of the old text lies behind it: the pass before took all of it.
func TestFirstSealPass(t *testing.T) {
	w := crashWorld(t)
	passes := 0
	w.fault = func(_ int, name string) fault {
		if name == "overwrite /boot/firmware/node.yaml" {
			if passes++; passes == 2 {
				return cut
			}
		}
		return none
	}
	if _, at := w.boot(nil); at == "" {
		t.Fatal("the power stayed on")
	}
	for _, secret := range []string{"hskey-auth-first", "proxy-secret", "authKey"} {
		if strings.Contains(w.bootYAML(), secret) {
			t.Errorf("%q is still on the boot partition", secret)
		}
	}
}

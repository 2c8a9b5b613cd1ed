package firstboot_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestSealedNodeWorksOn: what sealing took from node.yaml is still k3s' when
// its settings must be written again.
func TestSealedNodeWorksOn(t *testing.T) {
	w := crashWorld(t)
	w.boot(nil)
	const config = "/etc/rancher/k3s/config.yaml"
	want := string(w.files[config].data)
	if !strings.Contains(want, "etcd-s3-secret-key: s3-secret") || strings.Contains(w.bootYAML(), "s3-secret") {
		t.Fatalf("config.yaml:\n%s\nnode.yaml:\n%s", want, w.bootYAML())
	}
	w.files[config].data = append(w.files[config].data, "# spoilt\n"...)
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if have := string(w.files[config].data); have != want {
		t.Errorf("config.yaml became:\n%s", have)
	}
}

// TestCommentsAreSealed: a person may have kept the old key in one.
func TestCommentsAreSealed(t *testing.T) {
	w := newWorld(t, initYAML)
	w.boot(nil)
	w.personalise(strings.TrimRight(w.bootYAML(), "\n") + "\n# was: hskey-auth-older\n")
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if leak := leaks(w); leak != "" {
		t.Error(leak)
	}
}

// TestSealingLeavesANewFile: what a person puts there while the node is at
// work is read, not written over.
func TestSealingLeavesANewFile(t *testing.T) {
	for _, moment := range []string{"put /var/lib/imagebuilder/firstboot/joined", "sync /var", "put /var/lib/imagebuilder/firstboot/node.yaml"} {
		w := newWorld(t, initYAML)
		put := false
		w.fault = func(_ int, name string) fault {
			if name == moment && !put {
				put = true
				w.personalise(strings.Replace(initYAML, "Europe/Lisbon", "Etc/UTC", 1))
			}
			return none
		}
		joined := func(s firstboot.Status) bool { return s.State == firstboot.Joined }
		w.boot(joined)
		w.reboot()
		if s, _ := w.boot(nil); s.State != firstboot.Joined || !strings.Contains(w.bootYAML(), "timezone: Etc/UTC") {
			t.Errorf("put at %q: %s\n%s", moment, s.Line(), w.bootYAML())
		}
		if leak := leaks(w); leak != "" {
			t.Errorf("put at %q: %s", moment, leak)
		}
	}
}

package firstboot_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// TestSecretsOutliveSealing: what sealing took from node.yaml is still what the
// node must tell nobody.
func TestSecretsOutliveSealing(t *testing.T) {
	w := newWorld(t, strings.Replace(initYAML, "  ntp:", `  wifi: {country: DE, ssid: home, psk: "wifi psk secret"}
  ntp:`, 1))
	deferK3s(w)
	before := firstboot.Secrets(memFiles{w})
	if s, _ := w.boot(anyProblem); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if text := w.text("/boot/firmware/node.yaml"); strings.Contains(text, "secret") {
		t.Fatalf("it was not sealed:\n%s", text)
	}
	after := firstboot.Secrets(memFiles{w})
	for _, want := range []string{"k3s-token-very-secret", "k3s-agents-secret", "wifi psk secret", "http://user:proxy-secret@192.168.1.1:3128", "file-secret = 1"} {
		is := func(s secret.String) bool { return strings.TrimSpace(s.Reveal()) == want }
		if !slices.ContainsFunc(before, is) || !slices.ContainsFunc(after, is) {
			t.Errorf("%q: %v before, %v after", want, slices.ContainsFunc(before, is), slices.ContainsFunc(after, is))
		}
	}
	if password := strings.TrimSpace(w.text("/etc/rancher/node/password")); len(password) < 8 || !slices.ContainsFunc(after, func(s secret.String) bool { return strings.TrimSpace(s.Reveal()) == password }) {
		t.Error("the node's own password is none")
	}
	if none := firstboot.Secrets(memFiles{newWorld(t, "")}); len(none) > 0 {
		t.Errorf("%d secrets of nobody", len(none))
	}
}

package firstboot_test

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// keyPair is an owner's; the same seed gives the same one.
func keyPair(t *testing.T, seed byte) (public string, private minisign.PrivateKey) {
	t.Helper()
	pub, private, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	return pub.String(), private
}

// owned is initYAML of a node whose owner has a key.
func owned(t *testing.T, seed byte) string {
	public, _ := keyPair(t, seed)
	return initYAML + "ownerKey: " + public + "\n"
}

func sign(t *testing.T, yaml string, seed byte, at time.Time) string {
	t.Helper()
	_, key := keyPair(t, seed)
	c, err := node.Load("node.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	out, err := node.Sign([]byte(yaml), c.Node, key, at)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// replant puts a file onto the boot partition of a node that is off, and
// switches it on.
func (w *world) replant(yaml string) firstboot.Status {
	w.t.Helper()
	w.personalise(yaml)
	w.reboot()
	s, _ := w.boot(nil)
	return s
}

func edit(t *testing.T, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("no %q in:\n%s", from, text)
	}
	return strings.Replace(text, from, to, 1)
}

// joinedWorld is a node that has joined and was sealed.
func joinedWorld(t *testing.T, yaml string) *world {
	t.Helper()
	w := newWorld(t, yaml)
	if s, _ := w.boot(nil); s.State != firstboot.Joined || s.Notice != nil {
		t.Fatal(s.Line())
	}
	return w
}

// TestUnsignedChanges: without the owner's signature a file brings a key,
// tokens and network settings, or nothing at all. The node runs on, and tells.
func TestUnsignedChanges(t *testing.T) {
	full := owned(t, 1)
	public, _ := keyPair(t, 1)
	other, _ := keyPair(t, 2)
	for name, c := range map[string]struct{ from, to, owners string }{
		"nothing":            {"version: 1", "version: 1", ""},
		"key":                {"hskey-auth-first", "hskey-auth-second", ""},
		"token":              {"k3s-token-very-secret", "k3s-token-very-secret-too", ""},
		"network":            {"192.168.1.20/24", "192.168.1.21/24", ""},
		"proxy":              {"proxy-secret", "proxy-secret-too", ""},
		"ssh key":            {`GKJl me"`, `GKJl me", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl mallory"`, "ssh.authorizedKeys"},
		"content of a file":  {"file-secret = 1", "file-secret = 2", "files"},
		"a file made empty":  {"file-secret = 1", "", "files"},
		"owner of a file":    {`owner: "7:7"`, `owner: "0:7"`, "files"},
		"one file less":      {"files: [{path: /etc/sysctl.d/50-own.conf, owner: \"7:7\", content: \"file-secret = 1\"}]\n", "", "files"},
		"k3s.config":         {"arg-secret", "arg-secret-too", "k3s.config"},
		"k3s.config removed": {"  config: {", "  labels: {", "k3s.labels, k3s.config"},
		"server":             {"headscale.example.net", "headscale.example.org", "headscale.url"},
		"owner's key":        {public, other, "ownerKey"},
		"no owner's key":     {"ownerKey: " + public + "\n", "", "ownerKey"},
		"time and place":     {"site: home", "site: cabin\ntimezone: Etc/UTC", "site, timezone"},
	} {
		t.Run(name, func(t *testing.T) {
			w := joinedWorld(t, full)
			before, text := w.tree(), edit(t, full, c.from, c.to)
			if name == "k3s.config removed" {
				text = edit(t, text, ", kube-apiserver-arg: [of-a-plugin=arg-secret], kubelet-arg: max-pods=50", "")
			}
			if name == "time and place" {
				text = edit(t, text, "timezone: Europe/Lisbon\n", "")
			}
			s := w.replant(text)
			if s.State != firstboot.Joined {
				t.Fatal(s.Line())
			}
			if c.owners == "" {
				if s.Notice != nil || !strings.Contains(w.bootYAML(), "sealed: true") || leaks(w) != "" {
					t.Errorf("%s; %s", s.Line(), leaks(w))
				}
				return
			}
			w.tellsRefusal(s, "unsigned", "changes "+c.owners+" without the owner's signature", "Ask the owner for a signed node.yaml")
			if !strings.HasPrefix(w.bootYAML(), text) {
				t.Error("the refused file was written over")
			}
			delete(before, "/boot/firmware/node.yaml")
			after := w.tree()
			delete(after, "/boot/firmware/node.yaml")
			if d := diff(before, after); d != "" {
				t.Errorf("the refused file changed:\n%s", d)
			}
		})
	}
}

// tellsRefusal looks at what a person reads, in full and in order.
func (w *world) tellsRefusal(s firstboot.Status, code string, words ...string) {
	w.t.Helper()
	text := strings.Join(strings.Fields(string(s.Text())), " ")
	if s.Notice == nil || s.Notice.Code != code || len(s.Lines(76)) > 22 {
		w.t.Errorf("want %s: %s\n%s", code, s.Line(), text)
		return
	}
	for _, word := range append(words, s.Notice.Remedy, "JOINED") {
		if !strings.Contains(text, word) {
			w.t.Errorf("STATUS.TXT lacks %q:\n%s", word, text)
		}
	}
}

// TestUnsignedIdentity: the first node.yaml once more is no change; another
// cluster's authorities are one.
func TestUnsignedIdentity(t *testing.T) {
	public, _ := keyPair(t, 1)
	first := withIdentity(t) + "ownerKey: " + public + "\n"
	w := joinedWorld(t, first)
	if s := w.replant(edit(t, first, "hskey-auth-first", "hskey-auth-second")); s.State != firstboot.Joined || s.Notice != nil {
		t.Error(s.Line())
	}
	s := w.replant(edit(t, first, "planted server-ca.crt", "a stranger's"))
	w.tellsRefusal(s, "unsigned", "changes k3s.ca without the owner's signature")
}

// TestUnsignedKeyBringsANodeBack: the sealed file with a new key in it, as a
// helper writes it in front of the machine.
func TestUnsignedKeyBringsANodeBack(t *testing.T) {
	w := joinedWorld(t, owned(t, 1))
	sealed := strings.TrimRight(w.bootYAML(), "\n")
	w.haveKey = false
	w.reboot()
	if s, _ := w.boot(needsPerson); s.Problem == nil || s.Problem.Code != "key-lost" {
		t.Fatal(s.Line())
	}
	s := w.replant(edit(t, sealed, "url: https://headscale.example.net", "url: https://headscale.example.net\n  authKey: hskey-auth-second"))
	if s.State != firstboot.Joined || s.Notice != nil || leaks(w) != "" {
		t.Errorf("%s; %s", s.Line(), leaks(w))
	}
}

// TestSignedFiles: a signed file changes everything, once, on its own node,
// and no earlier one follows it.
func TestSignedFiles(t *testing.T) {
	first := owned(t, 1)
	w := joinedWorld(t, first)
	next := edit(t, edit(t, first, "site: home", "site: cabin"), "file-secret = 1", "file-secret = 2")
	signed := sign(t, next, 1, noon)
	accepted := func(what, yaml, site string) {
		t.Helper()
		if s := w.replant(yaml); s.State != firstboot.Joined || s.Notice != nil || s.Site != site || leaks(w) != "" {
			t.Fatalf("%s: %s; %s", what, s.Line(), leaks(w))
		}
		if !strings.Contains(w.bootYAML(), "sealed: true") {
			t.Errorf("%s: not sealed", what)
		}
	}
	refused := func(what, yaml, code string, words ...string) {
		t.Helper()
		s := w.replant(yaml)
		if s.State != firstboot.Joined || s.Site != "cabin" {
			t.Errorf("%s: %s", what, s.Line())
		}
		w.tellsRefusal(s, code, words...)
	}
	accepted("signed", signed, "cabin")
	if e := w.files["/etc/sysctl.d/50-own.conf"]; string(e.data) != "file-secret = 2" {
		t.Errorf("its file has %q", e.data)
	}
	accepted("the same again", signed, "cabin")
	refused("changed", edit(t, signed, "site: cabin", "site: hell"), "signature-wrong", "does not fit", "whole and unchanged")
	refused("a stranger's", sign(t, first, 2, noon.Add(time.Hour)), "signature-wrong", "was made with key")
	refused("cut", edit(t, signed, "# trusted comment", "# trusted"), "signature-wrong", "damaged or incomplete")
	refused("followed", signed+"dataDisk: /dev/disk/by-id/usb-2\n", "signature-wrong", "followed by something else")
	refused("older", sign(t, first, 1, noon.Add(-time.Hour)), "signature-old", "signed 2026-11-22 11:00:00 UTC and one signed 2026-11-22 12:00:00 UTC is in use", "newest file")
	refused("of the same time", sign(t, first, 1, noon), "signature-old")
	refused("another node's", sign(t, edit(t, next, "node: home-pi", "node: cabin-pi"), 1, noon.Add(time.Hour)), "signature-node", "signed for node cabin-pi, this is home-pi")
	accepted("newer", sign(t, first, 1, noon.Add(time.Second)), "home")
}

// TestOwnersKeyChanges: only the old key introduces a new one.
func TestOwnersKeyChanges(t *testing.T) {
	w := joinedWorld(t, owned(t, 1))
	if s := w.replant(sign(t, owned(t, 2), 2, noon)); s.Notice == nil || s.Notice.Code != "signature-wrong" {
		t.Errorf("a new key introduced itself: %s", s.Line())
	}
	if s := w.replant(sign(t, owned(t, 2), 1, noon)); s.Notice != nil || s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if s := w.replant(sign(t, owned(t, 1), 1, noon.Add(time.Hour))); s.Notice == nil || s.Notice.Code != "signature-wrong" {
		t.Errorf("the old key still counts: %s", s.Line())
	}
	if s := w.replant(sign(t, initYAML, 2, noon.Add(time.Hour))); s.Notice != nil {
		t.Errorf("the owner cannot give up the key: %s", s.Line())
	}
	if s := w.replant(edit(t, initYAML, "site: home", "site: cabin")); s.Notice != nil || s.Site != "cabin" {
		t.Errorf("a node without an owner's key wants a signature: %s", s.Line())
	}
}

// TestFirstFile: what comes first is believed, but for a signature of its own
// that does not fit.
func TestFirstFile(t *testing.T) {
	signed := sign(t, owned(t, 1), 1, noon)
	w := newWorld(t, edit(t, signed, "site: home", "site: hell"))
	if s, _ := w.boot(needsPerson); s.Problem == nil || s.Problem.Code != "signature-wrong" {
		t.Error(s.Line())
	}
	w = joinedWorld(t, signed)
	if s := w.replant(sign(t, owned(t, 1)+"# older\n", 1, noon.Add(-time.Second))); s.Notice == nil || s.Notice.Code != "signature-old" {
		t.Errorf("older than the first: %s", s.Line())
	}
}

// TestCutsWhileAFileIsAccepted breaks every call while a new file changes a
// joined node, in every way a call can break: one with the owner's signature
// and another owner's key, and one without, as far as it may.
func TestCutsWhileAFileIsAccepted(t *testing.T) {
	next := edit(t, owned(t, 2), "file-secret = 1", "file-secret = 2")
	for name, text := range map[string]string{
		"signed":   sign(t, edit(t, next, "hskey-auth-first", "hskey-auth-second"), 1, noon),
		"unsigned": edit(t, owned(t, 1), "192.168.1.20/24", "192.168.1.21/24"),
	} {
		off := joinedWorld(t, owned(t, 1))
		off.personalise(text)
		off.reboot()
		off.calls = 0
		calm := off.clone()
		if s, _ := calm.boot(nil); s.State != firstboot.Joined || s.Notice != nil {
			t.Fatal(s.Line())
		}
		want, total := settled(calm), calm.calls
		for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
			for n := 1; n <= total; n++ {
				w := off.clone()
				at, s := w.breaks(n, f)
				if d := diff(want, settled(w)); d != "" || s.State != firstboot.Joined || s.Notice != nil || leaks(w) != "" {
					t.Fatalf("%s, %s: call %d (%s) broken: %s; %s; other tree:\n%s", name, kind, n, at, s.Line(), leaks(w), d)
				}
			}
		}
	}
}

// clone returns a machine of the same state.
func (w *world) clone() *world {
	c := *w
	c.units, c.spent, c.files = maps.Clone(w.units), maps.Clone(w.spent), map[string]*entry{}
	for name, e := range w.files {
		same := *e
		c.files[name] = &same
	}
	return &c
}

// breaks boots with one broken call, and again where that is needed.
func (w *world) breaks(n int, f fault) (at string, s firstboot.Status) {
	w.fault = func(call int, what string) fault {
		if call == n {
			at = what
			return f
		}
		return none
	}
	s, cutAt := w.boot(nil)
	if cutAt != "" {
		w.reboot()
	}
	if cutAt != "" || s.Notice != nil { // the file could not be read just then
		s, _ = w.boot(nil)
	}
	return at, s
}

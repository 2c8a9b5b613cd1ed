package node_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// owner makes a key pair; the same seed gives the same one.
func owner(t *testing.T, seed byte) (public string, private minisign.PrivateKey) {
	t.Helper()
	pub, private, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	return pub.String(), private
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func sign(t *testing.T, yaml string, key minisign.PrivateKey, at time.Time) string {
	t.Helper()
	out, err := node.Sign([]byte(yaml), load(t, yaml).Node, key, at)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// read returns what is wrong with a file's signature, "" if nothing is.
func read(t *testing.T, data, public string) (*node.Signature, string) {
	t.Helper()
	s, err := node.ReadSignature([]byte(data))
	if err == nil && s != nil {
		err = s.By(public)
	}
	if err != nil {
		return s, err.Error()
	}
	return s, ""
}

func TestSignature(t *testing.T) {
	public, private := owner(t, 1)
	signed := sign(t, minimal, private, noon)
	if !strings.HasPrefix(signed, minimal+"# untrusted comment: ") {
		t.Fatalf("signed:\n%s", signed)
	}
	padded, err := node.PadTo([]byte(signed), node.ReservedSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{signed, string(padded), strings.TrimSpace(signed)} {
		s, wrong := read(t, data, public)
		if wrong != "" || s.Node != "cabin-box" || !s.Time.Equal(noon) {
			t.Errorf("%+v %s", s, wrong)
		}
		if load(t, data).Node != "cabin-box" {
			t.Error("it does not load")
		}
	}
	if s, wrong := read(t, minimal, public); s != nil || wrong != "" {
		t.Errorf("unsigned: %+v %s", s, wrong)
	}
	again := sign(t, signed, private, noon.Add(time.Second/2))
	if s, wrong := read(t, again, public); wrong != "" || !s.Time.After(noon) || strings.Count(again, "untrusted comment") != 1 {
		t.Errorf("signed again: %+v %s\n%s", s, wrong, again)
	}
}

// TestBrokenSignatures: whatever happens to a signed file, no other text counts as signed.
func TestBrokenSignatures(t *testing.T) {
	public, private := owner(t, 1)
	_, stranger := owner(t, 2)
	signed := sign(t, minimal, private, noon)
	lines := strings.SplitAfter(signed, "\n")
	edit := func(from, to string) string { return strings.Replace(signed, from, to, 1) }
	other := strings.SplitAfter(sign(t, full, private, noon), "\n")
	for name, c := range map[string]struct{ data, want string }{
		"another text":             {edit("site: cabin", "site: cabik"), "does not fit"},
		"another node":             {edit("node=cabin-box", "node=home-pi"), "does not fit"},
		"another time":             {edit("time=1", "time=2"), "does not fit"},
		"an added field":           {edit("# untrusted", "timezone: Europe/Lisbon\n# untrusted"), "does not fit"},
		"a text that follows":      {signed + "timezone: Europe/Lisbon\n", "followed by something else"},
		"a hidden text":            {signed + strings.Repeat("\n", 99) + "timezone: Europe/Lisbon\n", "followed by something else"},
		"a comment that follows":   {signed + "# x\n", "damaged or incomplete"},
		"an empty one":             {signed + "# \n", "damaged or incomplete"},
		"a text in the comment":    {edit("worthless", "worthless\rtimezone: Europe/Lisbon"), "followed by something else"},
		"the same, NEL":            {edit("worthless", "worthless\u0085timezone: Europe/Lisbon"), "followed by something else"},
		"the same, LS":             {edit("worthless", "worthless\u2028timezone: Europe/Lisbon"), "followed by something else"},
		"line ends of Windows":     {strings.ReplaceAll(signed, "\n", "\r\n"), "does not fit"},
		"no first line":            {strings.Replace(signed, lines[len(lines)-5], "", 1), "damaged or incomplete"},
		"no last line":             {strings.Replace(signed, lines[len(lines)-2], "", 1), "damaged or incomplete"},
		"two signatures":           {signed + strings.Join(lines[len(lines)-5:], ""), "does not fit"},
		"a stranger's":             {sign(t, minimal, stranger, noon), "was made with key"},
		"another text's signature": {minimal + strings.Join(other[len(other)-5:], ""), "does not fit"},
		"no node":                  {strings.Replace(signed, lines[len(lines)-3], "# trusted comment: timestamp:1\n", 1), "for which node"},
	} {
		if _, wrong := read(t, c.data, public); !strings.Contains(wrong, c.want) {
			t.Errorf("%s: %q, want %q", name, wrong, c.want)
		}
		if got, err := node.Load("node.yaml", []byte(c.data)); err == nil && c.want == "followed by something else" && got.Timezone == "Europe/Lisbon" {
			t.Errorf("%s: what follows the signature is read", name)
		}
	}
	if _, wrong := read(t, signed, "RWnonsense"); !strings.Contains(wrong, "public key") {
		t.Errorf("no key: %q", wrong)
	}
}

// TestMinisignAgrees takes the file apart as documented, lets the program minisign verify it, and
// accepts a signature made by minisign.
func TestMinisignAgrees(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	minisig := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("minisign", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("minisign %v: %v (is it installed? run `make deps`)\n%s", args, err, out)
		}
		return string(out)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	public, private := owner(t, 1)
	write("node.yaml", sign(t, minimal, private, noon))
	apart := exec.Command("sh", "-c", "head -n -4 node.yaml > text; tail -n 4 node.yaml | sed 's/^# //' > text.minisig") // as in SECURITY.md
	apart.Dir = dir
	if out, err := apart.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out := minisig("-V", "-m", at("text"), "-x", at("text.minisig"), "-P", public); !strings.Contains(out, "Trusted comment: node=cabin-box time=") {
		t.Error(out)
	}
	minisig("-G", "-W", "-s", at("key"), "-p", at("pub"))
	minisig("-S", "-s", at("key"), "-m", at("text"), "-x", at("sig"), "-t", "node=cabin-box time=1795608000")
	sig, err := os.ReadFile(at("sig"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := minisign.PublicKeyFromFile(at("pub"))
	if err != nil {
		t.Fatal(err)
	}
	theirs := minimal + "# " + strings.ReplaceAll(string(bytes.TrimSpace(sig)), "\n", "\n# ")
	if s, wrong := read(t, theirs, key.String()); wrong != "" || s.Node != "cabin-box" {
		t.Errorf("a signature by minisign: %+v %s", s, wrong)
	}
}

// FuzzReadSignature: a file that verifies is, up to newlines at its end, the
// one that was signed.
func FuzzReadSignature(f *testing.F) {
	pub, private, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		f.Fatal(err)
	}
	c, err := node.Load("node.yaml", []byte(minimal))
	if err != nil {
		f.Fatal(err)
	}
	signed, err := node.Sign([]byte(minimal), c.Node, private, noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(minimal))
	f.Add(bytes.Replace(signed, []byte("worthless"), []byte("worthless\rtimezone: Europe/Lisbon"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := node.ReadSignature(data)
		if err != nil || s == nil || s.By(pub.String()) != nil {
			return
		}
		now, err := node.Load("node.yaml", data)
		if err != nil {
			t.Fatalf("signed, but: %v", err)
		}
		if len(now.Reserved(c)) > 0 || now.Headscale.AuthKey != c.Headscale.AuthKey {
			t.Fatalf("another file counts as signed: %q", data)
		}
	})
}

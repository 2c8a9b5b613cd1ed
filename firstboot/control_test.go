package firstboot_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// controlNode is a node that runs Headscale with a certificate of its owner's.
func controlNode(t *testing.T) *node.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"headscale.example.net"}, NotAfter: time.Date(2027, 11, 22, 12, 0, 0, 0, time.UTC)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	_, host, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(host, "")
	if err != nil {
		t.Fatal(err)
	}
	return &node.Config{
		Version: node.Version, Node: "vps", Site: "cloud", Role: node.Control, Headscale: node.Headscale{URL: "https://headscale.example.net:8443"},
		SSH: node.SSH{HostKey: secret.String(pem.EncodeToMemory(block))}, Firewall: node.Firewall{Public: []string{"ssh"}},
		Control: &node.ControlServer{
			Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
			Key:  secret.String(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		},
	}
}

func controlWorld(t *testing.T, c *node.Config) *world {
	t.Helper()
	text, err := node.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, string(text))
	w.put("/usr/lib/systemd/system/headscale.service", "")
	return w
}

const hostKeyFile = "/etc/ssh/ssh_host_ed25519_key"

// TestControl is the life of a node that runs the tailnet's Headscale: it serves,
// waits for its key, joins, and has no secret left where a card reader finds it.
func TestControl(t *testing.T) {
	c := controlNode(t)
	w := controlWorld(t, c)
	s, _ := w.boot(anyProblem)
	if s.Problem == nil || s.Problem.Code != "control-waits" || !w.units["headscale.service"] {
		t.Fatal(s.Line())
	}
	if got := w.text(hostKeyFile); got != c.SSH.HostKey.Reveal() {
		t.Error("its ssh key is another one than node.yaml's")
	}
	if e := w.files["/etc/headscale/tls.key"]; e == nil || string(e.data) != c.Control.Key.Reveal() || e.mode != 0o640 || e.gid != 810 {
		t.Errorf("the certificate's key: %+v", e)
	}
	for set, want := range map[string]string{"public": "tcp . 22 } tcp . 8443 } udp . 3478 }"} {
		if got := opened(w.text("/etc/imagebuilder/firewall.nft"), set); got != want {
			t.Errorf("open to all: %s, want %s", got, want)
		}
	}
	before := w.bootYAML()
	if err := firstboot.TakeKey(w.host().Files, w.host().Clock, "hskey-auth-1"); err != nil {
		t.Fatal(err)
	}
	if left := w.files["/run/firstboot/key"]; left == nil || left.mode != 0o600 || w.bootYAML() != before {
		t.Errorf("it is left as %+v; another process than Run's has written node.yaml: %v", left, w.bootYAML() != before)
	}
	if s, _ = w.boot(nil); s.State != firstboot.Joined || w.ranWith != "" {
		t.Fatal(s.Line())
	}
	if w.files["/run/firstboot/key"] != nil {
		t.Error("the key is still there")
	}
	if text := w.bootYAML(); strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, "hskey") || len(text) != node.ReservedSize {
		t.Errorf("node.yaml:\n%s", text)
	}
	w.reboot()
	if s, _ = w.boot(nil); s.State != firstboot.Joined || w.text("/etc/headscale/tls.key") == "" || w.text(hostKeyFile) != c.SSH.HostKey.Reveal() {
		t.Errorf("after a reboot: %s", s.Line())
	}
	w.control = errors.New("connection refused")
	if s, _ = w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "unreachable" {
		t.Errorf("it does not answer: %s", s.Line())
	}
}

// opened lists what is added to a set.
func opened(rules, set string) string {
	var out []string
	for line := range strings.Lines(rules) {
		if _, what, ok := strings.Cut(strings.TrimSpace(line), "add element inet imagebuilder "+set+" { "); ok {
			out = append(out, what)
		}
	}
	return strings.Join(out, " ")
}

// TestControlConfig: with a name and no certificate Let's Encrypt is asked, and
// it can answer.
func TestControlConfig(t *testing.T) {
	c := controlNode(t)
	c.Control = &node.ControlServer{Email: "me@example.net", ACME: "https://ca.example.net/acme/acme/directory"}
	c.Headscale.URL = "https://headscale.example.net"
	w := controlWorld(t, c)
	w.boot(anyProblem)
	var have map[string]any
	if err := yaml.Unmarshal([]byte(w.text("/etc/headscale/config.yaml")), &have); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"server_url": "https://headscale.example.net", "listen_addr": "[::]:443", "metrics_listen_addr": "", "tls_letsencrypt_hostname": "headscale.example.net",
		"acme_email": "me@example.net", "acme_url": "https://ca.example.net/acme/acme/directory", "tls_letsencrypt_challenge_type": "HTTP-01", "tls_letsencrypt_listen": "[::]:80", "tls_cert_path": nil,
	} {
		if have[key] != want {
			t.Errorf("%s: %v, want %v", key, have[key], want)
		}
	}
	if got := opened(w.text("/etc/imagebuilder/firewall.nft"), "public"); got != "tcp . 22 } tcp . 443 } udp . 3478 } tcp . 80 }" {
		t.Errorf("open to all: %s", got)
	}
}

// TestAHostKeyThatComesLater: a node that has made a key of its own takes the
// one that its owner knows it by.
func TestAHostKeyThatComesLater(t *testing.T) {
	c := controlNode(t)
	key := c.SSH.HostKey
	c.SSH.HostKey = ""
	w := controlWorld(t, c)
	w.boot(anyProblem)
	own := w.text(hostKeyFile)
	c.SSH.HostKey = key
	text, err := node.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	w.personalise(string(text))
	if w.boot(anyProblem); own == "" || w.text(hostKeyFile) != key.Reveal() {
		t.Errorf("it has %.40q", w.text(hostKeyFile))
	}
}

// TestUnsignedControl: a file that nobody signed changes neither what the node is
// known by nor what it keeps its copies with, though both are gone from the own
// copy that it is compared with.
func TestUnsignedControl(t *testing.T) {
	c := controlNode(t)
	c.OwnerKey, _ = keyPair(t, 1)
	c.Headscale.AuthKey = "hskey-auth-1"
	c.Control.Backup.S3 = &node.S3{Endpoint: "https://s3.example.net", Region: "eu", Bucket: "copies", AccessKey: "id", SecretKey: "bucket-secret"}
	w := controlWorld(t, c)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	again := func(change func(c *node.Config)) firstboot.Status {
		t.Helper()
		other, control := *c, *c.Control
		bucket := *c.Control.Backup.S3
		other.Control, control.Backup.S3 = &control, &bucket
		change(&other)
		text, err := node.Marshal(&other)
		if err != nil {
			t.Fatal(err)
		}
		return w.replant(string(text))
	}
	if s := again(func(*node.Config) {}); s.Notice != nil {
		t.Error(s.Line())
	}
	w.tellsRefusal(again(func(o *node.Config) { o.SSH.HostKey = controlNode(t).SSH.HostKey }), "unsigned", "changes ssh.hostKey without the owner's signature")
	w.tellsRefusal(again(func(o *node.Config) { o.Control.Backup.S3.SecretKey = "another" }), "unsigned", "changes control.backup.s3 without the owner's signature")
	w.tellsRefusal(again(func(o *node.Config) {
		other := controlNode(t).Control
		o.Control.Cert, o.Control.Key = other.Cert, other.Key
	}), "unsigned", "changes control.cert, control.key without the owner's signature")
	if w.text(hostKeyFile) != c.SSH.HostKey.Reveal() {
		t.Error("it has another ssh key now")
	}
}

// TestControlNeedsItsImage: an image without Headscale says so.
func TestControlNeedsItsImage(t *testing.T) {
	w := controlWorld(t, controlNode(t))
	delete(w.files, "/usr/lib/systemd/system/headscale.service")
	if s, _ := w.boot(needsPerson); s.Problem == nil || !strings.Contains(s.Problem.Summary, "this image has no Headscale") {
		t.Error(s.Line())
	}
}

// TestTakeKeyRefuses: what is no key, and a node that works from something else
// than what lies there.
func TestTakeKeyRefuses(t *testing.T) {
	w := controlWorld(t, controlNode(t))
	for _, key := range []secret.String{"", "two words"} {
		before := w.bootYAML()
		err := firstboot.TakeKey(w.host().Files, w.host().Clock, key)
		if err == nil || w.bootYAML() != before || !key.Empty() && strings.Contains(err.Error(), key.Reveal()) {
			t.Errorf("%q: %v", key.Reveal(), err)
		}
	}
}

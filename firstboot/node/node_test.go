package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const minimal = `version: 1
node: cabin-box
site: cabin
role: agent
headscale: {url: https://headscale.example.net, authKey: hskey-auth-secret}
k3s: {servers: [home-pi], bootstrapToken: boot.secret}
`

var digest = strings.Repeat("0a", 32)

var full = `version: 1
node: home-pi
board: rpi4
site: home
role: server
headscale: {url: "http://192.168.1.5:8085", authKey: hskey-auth-secret}
k3s:
  init: true
  servers: [home-pi, cabin-pi]
  token: K10` + digest + `::server:k3s-secret
  agentToken: agent-secret
  labels: {example.net/disk: ssd}
  taints: ["example.net/slow=true:NoSchedule"]
  config: {kubelet-arg: [max-pods=50], disable: [traefik], etcd-s3-secret-key: s3-secret}
ssh: {authorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@home"], lan: false}
firewall: {lan: [http], public: [https]}
network:
  interfaces:
  - {name: eth0, addresses: [192.168.1.10/24], gateway: 192.168.1.1, dns: [192.168.1.1]}
  - {name: eth0, vlan: 20}
  wifi: {ssid: home net, psk: wifi-secret, country: PT}
  ntp: [pool.ntp.org]
  proxy: http://user:proxy-secret@proxy.example.net:3128
  noProxy: [.example.net]
timezone: Europe/Lisbon
dataDisk: /dev/disk/by-id/usb-SanDisk_1
longhorn: {disk: {model: "Samsung*", size: 500GB}}
files:
- {path: /etc/sysctl.d/50-own.conf, mode: 0640, owner: "0:100", content: "file-secret\n"}
ownerKey: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3
`

func load(t *testing.T, yaml string) *node.Config {
	t.Helper()
	c, err := node.Load("node.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRoundTrip(t *testing.T) {
	for _, yaml := range []string{minimal, full} {
		c := load(t, yaml)
		b, err := node.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		padded, err := node.PadTo(b, node.ReservedSize)
		if err != nil || len(padded) != node.ReservedSize {
			t.Fatalf("padded to %d, %v", len(padded), err)
		}
		if d := cmp.Diff(fmt.Sprint(reveal(c)), fmt.Sprint(reveal(load(t, string(padded))))); d != "" {
			t.Error(d)
		}
	}
}

// reveal prints a configuration with its secrets, for comparing.
func reveal(c *node.Config) string {
	b, err := node.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestDefaultsAndForms(t *testing.T) {
	windows := "\xef\xbb\xbf" + strings.ReplaceAll(minimal, "\n", "\r\n")
	c := load(t, windows)
	if field, token := c.JoinToken(); c.Timezone != "Etc/UTC" || c.Node != "cabin-box" || field != "bootstrapToken" || token.Reveal() != "boot.secret" {
		t.Errorf("%+v", c)
	}
	for from, want := range map[string]node.Mode{"": 0o640, "mode: 0640, ": 0o600} {
		if f := load(t, strings.Replace(full, from, "", 1)).Files[0]; f.Mode != want {
			t.Errorf("mode %o, want %o", f.Mode, want)
		}
	}
	unit := strings.NewReplacer("mode: 0640, ", "", "/etc/sysctl.d/50-own.conf", "/etc/systemd/network/50-own.network").Replace(full)
	if f := load(t, unit).Files[0]; f.Mode != 0o644 {
		t.Errorf("mode %o: systemd-networkd cannot read it", f.Mode)
	}
}

func TestSeal(t *testing.T) {
	c := load(t, full)
	sealed := c.Seal()
	b, err := node.Marshal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "secret") {
		t.Errorf("sealed:\n%s", b)
	}
	back := load(t, string(b))
	if !back.Sealed || !cmp.Equal(reveal(back), reveal(back.Seal())) {
		t.Error("sealing twice is more than sealing once")
	}
	if kept := reveal(c.Keep()); strings.Count(kept, "secret") != 2 || !strings.Contains(kept, "etcd-s3-secret-key: s3-secret") {
		t.Errorf("kept:\n%s", kept)
	}
	if !strings.Contains(reveal(c), "hskey-auth-secret") {
		t.Error("sealing changed the original")
	}
}

func TestErrorsShowNoValues(t *testing.T) {
	for _, secret := range []string{"hskey-auth-secret", "k3s-secret", "agent-secret", "wifi-secret", "proxy-secret"} {
		_, err := node.Load("node.yaml", []byte(strings.Replace(full, secret, "x y\u00e9"+secret, 1)))
		if err == nil {
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", *load(t, full), *load(t, full), *load(t, full)); strings.Contains(s, "secret-") || strings.Contains(s, "hskey") || strings.Contains(s, "wifi-secret") || strings.Contains(s, "s3-secret") {
		t.Error("a config prints its secrets")
	}
}

// control is a node that runs Headscale.
func control(rest string) string {
	return "version: 1\nnode: vps\nsite: cloud\nrole: control\nheadscale: {url: https://headscale.example.net}\n" + rest
}

// certificate is one for other.example.net, as a JSON string.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"other.example.net"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Quote(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func TestRefusals(t *testing.T) {
	edit := func(yaml, from, to string) string {
		if !strings.Contains(yaml, from) {
			t.Fatalf("the test's text has no %q", from)
		}
		return strings.Replace(yaml, from, to, 1)
	}
	for _, c := range []struct {
		name, yaml string
		kind       node.Kind
		want       string
	}{
		{"empty", "", node.Empty, "is empty"},
		{"newlines", strings.Repeat("\n", node.ReservedSize), node.Empty, "is empty"},
		{"comments", "# nothing\n\n# here\n", node.Empty, "comments only"},
		{"binary", "version: 1\x00\x01", node.Binary, "not UTF-8"},
		{"utf16", "\xff\xfev\x00", node.Binary, "not UTF-8"},
		{"large", strings.Repeat("# x\n", 300000), node.TooLarge, "the limit is 32768"},
		{"version 2", "version: 2\nfuture: true\n", node.Foreign, `node.yaml:1: field "version": is 2, this program knows 1`},
		{"no version", "node: x\n", node.Foreign, "write \"version: 1\""},
		{"word version", "version: one\n", node.Foreign, "want the number 1"},
		{"list", "- 1\n", node.Invalid, "want"},
		{"syntax", edit(minimal, "site: cabin", "site: [cabin"), node.Invalid, "node.yaml:"},
		{"unknown field", edit(minimal, "site: cabin", "sites: cabin"), node.Invalid, `node.yaml:3: field "sites": unknown (did you mean "site"?)`},
		{"nested unknown", edit(minimal, "authKey:", "authkey:"), node.Invalid, `node.yaml:5: field "headscale.authkey": unknown (did you mean "authKey"?)`},
		{"host name", edit(minimal, "cabin-box", "Cabin_Box"), node.Invalid, `node.yaml:2: field "node"`},
		{"localhost", edit(minimal, "cabin-box", "localhost"), node.Invalid, "choose another name"},
		{"identity of an agent", edit(minimal, "boot.secret}", "boot.secret, ca: {x: y}}"), node.Invalid, `field "k3s.ca": is for the server that creates the cluster`},
		{"half an identity", edit(full, "init: true", "init: true\n  ca: {server-ca.crt: x}"), node.Invalid, `field "k3s.ca": want exactly the files client-ca.crt, `},
		{"identity without PEM", edit(full, "init: true", "init: true\n  ca: {server-ca.crt: x}"), node.Invalid, `field "k3s.ca": server-ca.crt is not in PEM form`},
		{"server with control", edit(full, "role: server", "role: server\ncontrol: {}"), node.Invalid, `field "control": is for a node with role control or witness`},
		{"control without its section", control(""), node.Invalid, `field "control": is missing`},
		{"control of a cluster", control("control: {}\nk3s: {servers: [home-pi]}\n"), node.Invalid, `field "k3s": is for nodes of the cluster`},
		{"control in the open", edit(control("control: {}\n"), "https:", "http:"), node.Invalid, "serves https alone"},
		{"a certificate for an address", edit(control("control: {}\n"), "headscale.example.net", "203.0.113.7"), node.Invalid, `field "control.cert": is missing; Let's Encrypt wants a name`},
		{"a certificate for a bare name", edit(control("control: {}\n"), "headscale.example.net", "headscale"), node.Invalid, `field "control.cert": is missing; no authority is asked for a name without a dot`},
		{"a certificate where the authority asks", edit(control("control: {}\n"), "example.net", "example.net:80"), node.Invalid, `field "control.cert": is missing; port 80`},
		{"an authority in the clear", control("control: {acme: 'http://ca.example.net/directory'}\n"), node.Invalid, `field "control.acme": want the address`},
		{"an authority without a host", control("control: {acme: letsencrypt}\n"), node.Invalid, `field "control.acme": want the address`},
		{"an authority beside a certificate", control("control: {acme: 'https://ca.example.net/', cert: " + certificate(t) + "}\n"), node.Invalid, `field "control.acme": is for a node without a certificate`},
		{"another's certificate", control("control: {cert: " + certificate(t) + "}\n"), node.Invalid, "not headscale.example.net"},
		{"a certificate without its key", edit(control("control: {cert: "+certificate(t)+"}\n"), "headscale.", "other."), node.Invalid, `field "control.key": is missing`},
		{"another's key", edit(control("control: {key: x, cert: "+certificate(t)+"}\n"), "headscale.", "other."), node.Invalid, `field "control.key": is not the key of the certificate`},
		{"an application's bare name", control("control: {names: {hosts: [a.b, code], nodes: [x]}}\n"), node.Invalid, `field "control.names.hosts[1]": want small letters`},
		{"an application twice", control("control: {names: {hosts: [a.b, a.b], nodes: [x]}}\n"), node.Invalid, `field "control.names.hosts[1]": is there twice`},
		{"an application where Headscale is", control("control: {names: {hosts: [headscale.example.net], nodes: [x]}}\n"), node.Invalid, `field "control.names.hosts[0]": is the Headscale's own name`},
		{"an application above Headscale", control("control: {names: {hosts: [example.net], nodes: [x]}}\n"), node.Invalid, `field "control.names.hosts[0]": is the Headscale's own name`},
		{"an application that no node is for", control("control: {names: {hosts: [a.b]}}\n"), node.Invalid, `field "control.names": want hosts`},
		{"an application of no node's name", control("control: {names: {hosts: [a.b], nodes: [X]}}\n"), node.Invalid, `field "control.names.nodes[0]": want a host name`},
		{"a key alone", control("control: {key: x}\n"), node.Invalid, `field "control.key": is without a certificate`},
		{"ssh host key", edit(minimal, "role: agent", "role: agent\nssh: {hostKey: ssh-ed25519}"), node.Invalid, `field "ssh.hostKey": want a private key in OpenSSH's form`},
		{"role", edit(minimal, "role: agent", "role: agnet"), node.Invalid, `field "role": unknown role "agnet" (did you mean "agent"?)`},
		{"url", edit(minimal, "https://headscale.example.net", "headscale.example.net"), node.Invalid, `field "headscale.url"`},
		{"url path", edit(minimal, "example.net,", "example.net/admin,"), node.Invalid, "remove the rest"},
		{"key with space", edit(minimal, "hskey-auth-secret", `"hskey auth"`), node.Invalid, "copy it again"},
		{"ca", edit(minimal, "authKey: hskey-auth-secret", "ca: hello"), node.Invalid, "PEM"},
		{"no servers", edit(minimal, "servers: [home-pi], ", ""), node.Invalid, "at least one other server"},
		{"only itself", edit(minimal, "[home-pi]", "[cabin-box]"), node.Invalid, "at least one other server"},
		{"agent init", edit(minimal, "servers:", "init: true, servers:"), node.Invalid, `field "k3s.init": only a node with role server`},
		{"witness init", edit(full, "role: server", "role: witness"), node.Invalid, "only a node with role server"},
		{"no token", edit(minimal, ", bootstrapToken: boot.secret", ""), node.Invalid, "needs agentToken or bootstrapToken"},
		{"server bootstrap", edit(full, "agentToken:", "bootstrapToken:"), node.Invalid, "is for agents"},
		{"own flag", edit(full, "disable: [traefik]", "node-ip: 1.2.3.4"), node.Invalid, `field "k3s.config.node-ip": is decided by firstboot`},
		{"server tag", edit(full, "  agentToken: agent-secret", "  serverTags: [site-a]"), node.Invalid, `field "k3s.serverTags[0]": want a tag of the tailnet`},
		{"label", edit(full, "example.net/disk: ssd", "topology.kubernetes.io/zone: x"), node.Invalid, "comes from site"},
		{"taint", edit(full, ":NoSchedule", ":Never"), node.Invalid, `field "k3s.taints[0]"`},
		{"ssh key", edit(full, "AAAAC3", "BBBBC3"), node.Invalid, `field "ssh.authorizedKeys[0]"`},
		{"ssh type", edit(full, "ssh-ed25519", "ssh-rsa"), node.Invalid, "of the type it names"},
		{"service", edit(minimal, "role: agent", "role: agent\nfirewall: {lan: [htps]}"), node.Invalid, `field "firewall.lan[0]": unknown service (did you mean "https"?)`},
		{"k3s' port", edit(minimal, "role: agent", "role: agent\nfirewall: {public: [http, kubernetes]}"), node.Invalid, `field "firewall.public[1]": unknown service; one of http, https, ssh`},
		{"service twice", edit(minimal, "role: agent", "role: agent\nfirewall: {lan: [ssh, ssh]}"), node.Invalid, `field "firewall.lan[1]": is listed twice`},
		{"ssh open and closed", edit(minimal, "role: agent", "role: agent\nfirewall: {public: [ssh]}\nssh: {lan: false}"), node.Invalid, `field "firewall.public[0]": contradicts ssh.lan`},
		{"address", edit(full, "192.168.1.10/24", "192.168.1.10"), node.Invalid, "prefix length"},
		{"gateway", edit(full, "gateway: 192.168.1.1", "gateway: router"), node.Invalid, `field "network.interfaces[0].gateway"`},
		{"vlan", edit(full, "vlan: 20", "vlan: 5000"), node.Invalid, "1 to 4094"},
		{"wifi country", edit(full, "country: PT", "country: pt"), node.Invalid, "two-letter"},
		{"wifi psk", edit(full, "wifi-secret", "short"), node.Invalid, "8 to 63"},
		{"time zone", edit(full, "Europe/Lisbon", "../../etc/shadow"), node.Invalid, "want a time zone"},
		{"disk by its passing name", edit(full, "/dev/disk/by-id/usb-SanDisk_1", "/dev/sda"), node.Invalid, `field "dataDisk": want /dev/disk/by-id/NAME`},
		{"disk elsewhere", edit(full, "usb-SanDisk_1", "../../sda"), node.Invalid, "want /dev/disk/by-id/NAME"},
		{"partition", edit(full, "usb-SanDisk_1", "usb-SanDisk_1-part1"), node.Invalid, "want the whole disk"},
		{"disk pattern", edit(full, "Samsung*", "[Samsung"), node.Invalid, `field "longhorn.disk.model": is no shell pattern`},
		{"disk size", edit(full, "size: 500GB", "size: 500"), node.Invalid, `field "longhorn.disk.size": want a size like 500GB`},
		{"disk field", edit(full, "size: 500GB", "sise: 500GB"), node.Invalid, `did you mean "size"?`},
		{"disk path and pattern", edit(full, "size: 500GB", "path: /dev/disk/by-id/x"), node.Invalid, "keep one"},
		{"one disk for both", edit(full, `{model: "Samsung*", size: 500GB}`, "/dev/disk/by-id/usb-SanDisk_1"), node.Invalid, "is the dataDisk"},
		{"restore of nothing", edit(full, "init: true", "init: true\n  seed: {restore: {claims: {a/b: c}}}"), node.Invalid, `field "k3s.seed.restore.systemBackup": want a name`},
		{"restore's namespace", edit(full, "init: true", "init: true\n  seed: {restore: {systemBackup: a, namespaces: [b, a.b]}}"), node.Invalid, `field "k3s.seed.restore.namespaces[1]": want a name`},
		{"restore's claim", edit(full, "init: true", "init: true\n  seed: {restore: {systemBackup: a, claims: {a/b.c: d, a.b/c: d}}}"), node.Invalid, `field "k3s.seed.restore.claims.a.b/c": want a name`},
		{"restore's claim of no namespace", edit(full, "init: true", "init: true\n  seed: {restore: {systemBackup: a, claims: {a: d}}}"), node.Invalid, `field "k3s.seed.restore.claims.a": want a name`},
		{"backup of a claim", edit(full, "init: true", "init: true\n  seed: {restore: {systemBackup: a, claims: {a/b: D}}}"), node.Invalid, `field "k3s.seed.restore.claims.a/b": want a name`},
		{"restore's manifest", edit(full, "init: true", "init: true\n  seed: {restore: {systemBackup: a, manifests: {a.b: x}}}"), node.Invalid, `field "k3s.seed.restore.manifests.a.b": want a name`},
		{"manifest twice", edit(full, "init: true", "init: true\n  seed: {manifests: {a: x}, restore: {systemBackup: a, manifests: {a: x}}}"), node.Invalid, `field "k3s.seed.restore.manifests.a": is among`},
		{"restore by no creator", edit(minimal, "servers:", "seed: {restore: {systemBackup: a}}, servers:"), node.Invalid, `field "k3s.seed": is for the server that creates the cluster`},
		{"secret twice", edit(full, "init: true", "init: true\n  seed: {secrets: [{namespace: a, name: b.c, data: {d: x}}, {namespace: a, name: b.c, data: {d: x}}]}"), node.Invalid, `field "k3s.seed.secrets[1].name": a/b.c is there twice`},
		{"secret's name", edit(full, "init: true", "init: true\n  seed: {secrets: [{namespace: a, name: b_c, data: {d: x}}]}"), node.Invalid, `field "k3s.seed.secrets[0].name": want a name`},
		{"secret's namespace", edit(full, "init: true", "init: true\n  seed: {secrets: [{namespace: a.b, name: c, data: {d: x}}]}"), node.Invalid, `field "k3s.seed.secrets[0].namespace": want a name`},
		{"secret's key", edit(full, "init: true", "init: true\n  seed: {secrets: [{namespace: a, name: b, data: {c/d: x}}]}"), node.Invalid, `field "k3s.seed.secrets[0].data": want keys of letters`},
		{"secret without data", edit(full, "init: true", "init: true\n  seed: {secrets: [{namespace: a, name: b}]}"), node.Invalid, `field "k3s.seed.secrets[0].data": is missing`},
		{"secret of no creator", edit(minimal, "servers:", "seed: {secrets: [{namespace: a, name: b, data: {c: x}}]}, servers:"), node.Invalid, `field "k3s.seed": is for the server that creates the cluster`},
		{"file place", edit(full, "/etc/sysctl.d/50-own.conf", "/etc/shadow"), node.Invalid, "none of the places"},
		{"file escape", edit(full, "/etc/sysctl.d/50-own.conf", "/etc/sysctl.d/../shadow"), node.Invalid, "clean absolute path"},
		{"own file", edit(full, "/etc/sysctl.d/50-own.conf", "/etc/rancher/k3s/config.yaml"), node.Invalid, "is written by firstboot"},
		{"mode", edit(full, "mode: 0640", "mode: 4755"), node.Invalid, "mode in octal"},
		{"owner's key", edit(full, "ownerKey: RWQ", "ownerKey: RWX"), node.Invalid, `field "ownerKey": want a public key of minisign`},
		{"owner", edit(full, `"0:100"`, "nobody"), node.Invalid, "UID:GID"},
	} {
		_, err := node.Load("node.yaml", []byte(c.yaml))
		var bad *node.Error
		if !errors.As(err, &bad) {
			t.Errorf("%s: accepted (%v)", c.name, err)
			continue
		}
		if bad.Kind != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: kind %d: %v\nwant kind %d: %s", c.name, bad.Kind, err, c.kind, c.want)
		}
	}
}

// TestAllFindingsAtOnce: a person mends a file in one go.
func TestAllFindingsAtOnce(t *testing.T) {
	_, err := node.Load("node.yaml", []byte("version: 1\nnode: A_\nsite: B_\nrole: boss\n"))
	if err == nil || len(strings.Split(err.Error(), "\n")) < 4 {
		t.Errorf("%v", err)
	}
}

func TestWarnings(t *testing.T) {
	c := load(t, strings.Replace(minimal, "https://headscale.example.net, authKey: hskey-auth-secret", "http://headscale.example.net:8080", 1))
	if w := c.Warnings(); len(w) != 4 || !strings.Contains(w[0], "plain http") || !strings.Contains(w[1], "authKey") || !strings.Contains(w[2], "k3s.bootstrapToken") || !strings.Contains(w[3], "ownerKey: is missing") {
		t.Errorf("%q", w)
	}
	if w := load(t, full).Warnings(); len(w) != 0 {
		t.Errorf("%q", w)
	}
}

// TestTokenPins: for every kind of token there is a warning if it has no pin, and the warning does
// not contain the token.
func TestTokenPins(t *testing.T) {
	for _, c := range []struct{ role, kind, token, want string }{
		{"server", "token", "very-secret", "k3s.token: whoever answers"},
		{"server", "token", "K10:::server:very-secret", "k3s.token: whoever answers"},
		{"server", "token", "K10" + digest[2:] + "::server:very-secret", "k3s.token: whoever answers"},
		{"server", "token", "K10" + digest + "::server:very-secret", ""},
		{"witness", "token", "very-secret", "k3s.token: whoever answers"},
		{"agent", "agentToken", "very-secret", "k3s.agentToken: whoever answers"},
		{"agent", "agentToken", "K10" + digest + "::node:very-secret", ""},
		{"agent", "bootstrapToken", "abcdef.0123456789abcdef", "k3s.bootstrapToken: whoever answers"},
		{"agent", "bootstrapToken", "K10" + digest + "::abcdef.0123456789abcdef", ""},
		{"agent", "token", "very-secret", "k3s.token: whoever answers"},
		{"server", "agentToken", "K10" + digest + "::node:very-secret", ""}, // k3s cuts the pin off itself (pkg/passwd, EnsureUser)
	} {
		k := c.kind + ": \"" + c.token + "\""
		if c.role == "server" && c.kind == "agentToken" {
			k += ", token: \"K10" + digest + "::server:x\""
		}
		yaml := strings.NewReplacer("role: agent", "role: "+c.role, "bootstrapToken: boot.secret", k).Replace(minimal)
		w := strings.Join(load(t, yaml+"ownerKey: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n").Warnings(), "\n")
		if (c.want == "") != (w == "") || !strings.Contains(w, c.want) || strings.Contains(w, "very-secret") {
			t.Errorf("%s %s %s: %q", c.role, c.kind, c.token, w)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(full))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := node.Load("node.yaml", data)
		var bad *node.Error
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("error of type %T", err)
		}
		if err != nil {
			return
		}
		b, err := node.Marshal(c.Seal())
		if err != nil {
			return
		}
		if _, err := node.Load("node.yaml", b); err != nil {
			t.Fatalf("a sealed file does not load: %v\n%s", err, b)
		}
	})
}

func FuzzLoadComponents(f *testing.F) {
	f.Add([]byte(`{"version":1,"components":[{"name":"k3s","version":"v1","urls":["https://x/y"],"sha256":"` + strings.Repeat("ab", 32) + `","format":"binary","files":[{"name":"k3s","mode":493}],"deferred":true}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := node.LoadComponents(data)
		if err != nil {
			return
		}
		for _, x := range c.Components {
			for _, file := range x.Files {
				if strings.ContainsAny(file.Name, "/\x00") || file.Name == ".." {
					t.Fatalf("file %q", file.Name)
				}
			}
		}
	})
}

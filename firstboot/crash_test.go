package firstboot_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// creates is what the server has that others have not: the right to create the
// cluster, and what that begins with.
const creates = `init: true
  seed: {manifests: {longhorn: "kind: HelmChart\n"}, secrets: [{namespace: longhorn-system, name: s3, data: {KEY: seed-secret}}]}`

const initYAML = `version: 1
node: home-pi
board: rpi4
site: home
role: server
headscale: {url: "https://headscale.example.net", authKey: hskey-auth-first}
k3s:
  ` + creates + `
  servers: [home-pi, cabin-pi]
  token: k3s-token-very-secret
  agentToken: k3s-agents-secret
  config: {etcd-s3-secret-key: s3-secret, kube-apiserver-arg: [of-a-plugin=arg-secret], kubelet-arg: max-pods=50}
ssh: {authorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"]}
network:
  interfaces: [{name: eth0, addresses: [192.168.1.20/24], gateway: 192.168.1.1, dns: [192.168.1.1]}]
  ntp: [192.168.1.1]
  proxy: "http://user:proxy-secret@192.168.1.1:3128"
timezone: Europe/Lisbon
longhorn: {disk: /dev/disk/by-id/usb-1}
files: [{path: /etc/sysctl.d/50-own.conf, owner: "7:7", content: "file-secret = 1"}]
`

var secrets = []string{"hskey-auth-", "k3s-token-very-secret", "k3s-agents-secret", "proxy-secret", "file-secret", "s3-secret", "arg-secret", "seed-secret", "c2VlZC1zZWNyZXQ="}

// deferK3s makes the world's image leave k3s to the first boot.
func deferK3s(w *world) {
	program := []byte("\x7fELF k3s " + strings.Repeat("x", 1000))
	sum := sha256.Sum256(program)
	b, err := node.MarshalComponents([]node.Component{{
		Name: "k3s", Version: "v1", URLs: []string{"https://example.net/k3s"}, SHA256: hex.EncodeToString(sum[:]),
		Format: "binary", Files: []node.ComponentFile{{Name: "k3s", Mode: 0o755}}, Deferred: true,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put("/usr/lib/imagebuilder/components.json", string(b))
	w.served["https://example.net/k3s"] = program
}

// volatile are the contents that are random, or tell of the way and not of
// the end.
func settled(w *world) map[string]string {
	t := w.tree()
	for name := range t {
		if strings.Contains(name, "ssh_host_") || strings.HasPrefix(name, "/etc/nvme/") || strings.HasPrefix(name, "/etc/iscsi/") || name == "/etc/machine-id" || name == "/etc/rancher/node/password" {
			t[name] = "born"
		}
	}
	return t
}

func diff(want, have map[string]string) string {
	var b strings.Builder
	for name, w := range want {
		if have[name] != w {
			fmt.Fprintf(&b, "%s: want %q, have %q\n", name, w, have[name])
		}
	}
	for name, h := range have {
		if _, ok := want[name]; !ok {
			fmt.Fprintf(&b, "%s: unexpected %q\n", name, h)
		}
	}
	return b.String()
}

func crashWorld(t testing.TB) *world {
	w := newWorld(t, initYAML)
	deferK3s(w)
	return w
}

// TestEveryCallFails breaks each call to the outside world in turn, in every
// way a call can break, and expects the very tree of an undisturbed boot.
func TestEveryCallFails(t *testing.T) {
	calm := crashWorld(t)
	if s, _ := calm.boot(nil); s.State != firstboot.Joined {
		t.Fatalf("undisturbed: %s", s.Line())
	}
	want, total := settled(calm), calm.calls
	if calm.clusters != 1 {
		t.Fatalf("%d clusters created", calm.clusters)
	}
	t.Logf("%d calls, %d files", total, len(want))
	for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
		t.Run(kind, func(t *testing.T) {
			for n := 1; n <= total; n++ {
				w := crashWorld(t)
				name := ""
				w.fault = func(call int, what string) fault {
					if call == n {
						name = what
						return f
					}
					return none
				}
				finish(t, w)
				w.fault = nil
				if d := diff(want, settled(w)); d != "" {
					t.Fatalf("call %d (%s) broken: other tree:\n%s", n, name, d)
				}
				if w.clusters != 1 || w.joins != 0 {
					t.Fatalf("call %d (%s) broken: %d clusters, %d joins", n, name, w.clusters, w.joins)
				}
				if leak := leaks(w); leak != "" {
					t.Fatalf("call %d (%s) broken: %s", n, name, leak)
				}
			}
		})
	}
}

// TestBorn: what must be unique to a node is made on it, whatever the image
// has in its place.
func TestBorn(t *testing.T) {
	w := crashWorld(t)
	w.boot(nil)
	for name, want := range map[string]string{
		"/etc/machine-id":                       "^[0-9a-f]{32}\\n$",
		"/etc/iscsi/initiatorname.iscsi":        "^InitiatorName=iqn\\.1993-08\\.org\\.debian:01:[0-9a-f]{12}\\n$",
		"/etc/nvme/hostnqn":                     "^nqn\\.2014-08\\.org\\.nvmexpress:uuid:[0-9a-f-]{36}\\n$",
		"/etc/rancher/node/password":            "^[0-9a-f]{32}\\n$",
		"/etc/ssh/ssh_host_ed25519_key":         "^-----BEGIN OPENSSH PRIVATE KEY-----",
		"/etc/ssh/ssh_host_ecdsa_key.pub":       "^ecdsa-sha2-nistp256 ",
		"/etc/ssh/authorized_keys/root":         "^ssh-ed25519 AAAA",
		"/etc/hostname":                         "^home-pi\\n$",
		"/var/lib/imagebuilder/firstboot/owner": "^home-pi\\n$",
	} {
		if e := w.files[name]; e == nil || !regexp.MustCompile(want).Match(e.data) {
			t.Errorf("%s: %v, want %s", name, e, want)
		}
	}
	if w.files["/etc/localtime"].link != "../usr/share/zoneinfo/Europe/Lisbon" || w.hostname != "home-pi" {
		t.Error("time zone or host name")
	}
}

// finish boots until the node is joined. A person replaces the key where the
// power cut burned it.
func finish(t *testing.T, w *world) {
	t.Helper()
	for range 6 {
		s, cutAt := w.boot(func(s firstboot.Status) bool {
			if s.Problem != nil && s.Problem.Code == "key-spent" && !strings.Contains(w.bootYAML(), "second") {
				w.personalise(strings.Replace(strings.TrimSpace(w.bootYAML()), "hskey-auth-first", "hskey-auth-second", 1))
			}
			return false
		})
		if cutAt == "" {
			if s.State != firstboot.Joined {
				t.Fatalf("ended %s", s.Line())
			}
			return
		}
		w.reboot()
	}
	t.Fatal("not joined after six boots")
}

// leaks looks for secrets where none may be: each stays in files of root's
// that need it, and nowhere on the boot partition.
func leaks(w *world) string {
	own := map[string]string{
		"/etc/rancher/k3s/token": "k3s-token-very-secret", "/etc/rancher/k3s/agent-token": "k3s-agents-secret",
		"/etc/imagebuilder/proxy.env": "proxy-secret", "/etc/sysctl.d/50-own.conf": "file-secret",
		"/etc/rancher/k3s/config.yaml": "s3-secret arg-secret", "/var/lib/imagebuilder/firstboot/node.yaml": "s3-secret arg-secret",
	}
	for name, e := range w.files {
		for _, s := range secrets {
			if strings.Contains(string(e.data), s) && !strings.Contains(own[name], s) {
				return fmt.Sprintf("%s is in %s", s, name)
			}
		}
		if own[name] != "" && e.mode != 0o600 {
			return fmt.Sprintf("%s is %v", name, e.mode)
		}
	}
	return ""
}

// TestTwoCuts loses the power twice, at random moments.
func TestTwoCuts(t *testing.T) {
	calm := crashWorld(t)
	calm.boot(nil)
	want := settled(calm)
	for seed := range 300 {
		first, second := 1+seed*7%calm.calls, 1+seed*13%(calm.calls/2)
		w := crashWorld(t)
		boots := 0
		w.fault = func(call int, _ string) fault {
			switch {
			case boots == 0 && call == first, boots == 1 && call == first+second:
				boots++
				return cut
			}
			return none
		}
		finish(t, w)
		if d := diff(want, settled(w)); d != "" {
			t.Fatalf("cut at %d and %d later: other tree:\n%s", first, second, d)
		}
		if leak := leaks(w); leak != "" || w.clusters != 1 {
			t.Fatalf("cut at %d and %d later: %s, %d clusters", first, second, leak, w.clusters)
		}
	}
}

// TestSecondBootDoesNothing expects not one changed file and no new join.
func TestSecondBootDoesNothing(t *testing.T) {
	w := crashWorld(t)
	w.boot(nil)
	want := maps.Clone(w.tree())
	w.reboot()
	w.names = nil
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if d := diff(want, w.tree()); d != "" {
		t.Error("the second boot changed:\n" + d)
	}
	for _, n := range w.names {
		for _, bad := range []string{"tailnet up", "put /etc", "put /var", "restart", "overwrite"} {
			if strings.HasPrefix(n, bad) {
				t.Errorf("second boot: %s", n)
			}
		}
	}
}

package fleet

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/sshkey"
)

// vps makes the example's file one of a fleet that runs its own Headscale.
func vps(role string) string {
	return strings.NewReplacer(
		"{env: HEADSCALE_API_KEY}", "{file: secrets/headscale.key}\n    server: {hostKey: {file: secrets/control-host.key}, loginKey: {file: secrets/control-login.key}}",
		"  cabin: {t", "  cloud: {}\n  cabin: {t",
		"  home-box:", "  vps: {board: generic-arm64, site: cloud, role: "+role+"}\n  home-box:",
	).Replace(elsewhere())
}

func loadVPS(t *testing.T, role string) *Fleet {
	t.Helper()
	name := directory(t, vps(role))
	for _, file := range controlFiles {
		key, err := sshkey.NewEd25519(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(name), "secrets", file), key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := LoadFile(name, known)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestControl: the owner recognises the machine that runs Headscale by a host key made at
// home. The owner can log in to it from anywhere. Outside of the cluster, it has none of the
// cluster's secrets.
func TestControl(t *testing.T) {
	for role, want := range map[string]node.Role{"control": node.Control, "[control, witness]": node.Witness, "[witness, control]": node.Witness} {
		f := loadVPS(t, role)
		f.Cluster.Headscale.Server.ACME = "https://ca.example.net/acme/acme/directory"
		c, err := f.Config("vps")
		if err != nil {
			t.Fatal(err)
		}
		_, login, err := f.ControlKeys()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case f.Control() != "vps", c.Role != want, c.Control == nil, c.Control.ACME != f.Cluster.Headscale.Server.ACME, c.SSH.HostKey.Empty():
			t.Errorf("%s: %+v", role, c)
		case !slices.Equal(c.Firewall.Public, []string{"ssh"}), len(c.SSH.AuthorizedKeys) != 1, !strings.HasPrefix(c.SSH.AuthorizedKeys[0], login.PublicKey().Type()):
			t.Errorf("%s: %v, %v", role, c.Firewall, c.SSH.AuthorizedKeys)
		case c.K3s.Token.Empty() != (want == node.Control):
			t.Errorf("%s: token %q", role, c.K3s.Token.Reveal())
		}
		data, err := node.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := node.Load("node.yaml", data); err != nil {
			t.Errorf("%s: the node refuses its answer: %v", role, err)
		}
		if other, err := f.Config("home-box"); err != nil || other.Control != nil || !other.SSH.HostKey.Empty() || len(other.SSH.AuthorizedKeys) != 0 {
			t.Errorf("another node's: %+v, %v", other, err)
		}
	}
	for text, want := range map[string]string{
		vps("[control, agent]"): "control goes with witness alone",
		vps("[server, agent]"):  "want one role, or [control, witness]",
		vps("contrl"):           "unknown role \"contrl\" (did you mean \"control\"?)",
		vps("server"):           "",
		strings.Replace(vps("control"), "loginKey", "LoginKey", 1):                                                                                                 "did you mean \"loginKey\"?",
		strings.Replace(vps("control"), ", loginKey: {file: secrets/control-login.key}", "", 1):                                                                    "ssh-keygen -t ed25519 -N '' -f secrets/control-login.key",
		strings.Replace(vps("control"), "role: agent", "role: control", 1):                                                                                         "a tailnet has one",
		strings.Replace(vps("control"), "server: {host", "server: {backup: {path: /srv}, host", 1):                                                                 `field "cluster.headscale.server.backup.path": want a directory below /var`,
		strings.Replace(vps("control"), "server: {host", "server: {backup: {s3: {endpoint: 'https://s3', region: x, accessKey: y, secretKey: {env: Z}}}, host", 1): `field "cluster.headscale.server.backup.s3.bucket": is missing`,
		strings.Replace(vps("control"), "server: {host", "server: {acme: 'https://ca.example.net/acme/acme/directory', host", 1):                                   "",
		strings.Replace(vps("control"), "server: {host", "server: {acme: letsencrypt, host", 1):                                                                    `field "cluster.headscale.server.acme": want the address of an ACME directory`,
		strings.Replace(vps("control"), "https://headscale.example.net", "http://192.168.1.5:8080", 1):                                                             "serves https alone",
		strings.Replace(vps("control"), "role: control", "role: control, labels: {a: b}", 1):                                                                       `field "nodes.vps.labels": is for nodes of the cluster`,
		strings.Replace(vps("control"), "role: control", "role: control, taints: ['a=b:NoSchedule']", 1):                                                           `field "nodes.vps.taints": is for nodes of the cluster`,
		strings.Replace(vps("control"), "role: control", "role: control, longhorn: {disk: {size: 2TB}}", 1):                                                        `field "nodes.vps.longhorn": is for nodes of the cluster`,
		strings.Replace(vps("control"), "server: {host", "server: {cert: {file: secrets/c}, host", 1):                                                              `field "cluster.headscale.server.key": is missing: a certificate and its key go together`,
		strings.Replace(vps("control"), "server: {host", "server: {email: a@example.net, cert: {file: secrets/c}, key: {file: c}, host", 1):                        `field "cluster.headscale.server.email": is for a Headscale that asks an authority`,
		strings.Replace(vps("control"), "server: {host", "server: {cert: {file: secrets/c}, key: {file: secrets/k}, host", 1):                                      "",
	} {
		_, err := Load("fleet.yaml", []byte(text), known)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestAVPSForAPlainFleet: errors name the keys that "fleet init" has made, encrypted or not,
// and do not ask for others.
func TestAVPSForAPlainFleet(t *testing.T) {
	plain := strings.Replace(vps("control"), "    server: {hostKey: {file: secrets/control-host.key}, loginKey: {file: secrets/control-login.key}}\n", "", 1)
	for suffix, want := range map[string][2]string{
		"":     {"server: hostKey: {file: secrets/control-host.key}", "server: loginKey: {file: secrets/control-login.key}"},
		".age": {"server: hostKey: {age: secrets/control-host.key.age}", "server: loginKey: {age: secrets/control-login.key.age}"},
	} {
		name := directory(t, plain)
		for _, file := range controlFiles {
			if err := os.WriteFile(filepath.Join(filepath.Dir(name), "secrets", file+suffix), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := LoadFile(name, known)
		if err == nil || !strings.Contains(err.Error(), want[0]) || !strings.Contains(err.Error(), want[1]) || strings.Contains(err.Error(), "ssh-keygen") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestWhoMakesTheAPIKey: if there is no API key yet, the error says who makes it.
func TestWhoMakesTheAPIKey(t *testing.T) {
	own := loadVPS(t, "control")
	if _, err := own.APIKey(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "once vps runs, 'imagebuilder headscale init' makes the key") {
		t.Error(err)
	}
	other := load(t, elsewhere())
	if _, err := other.APIKey(); err == nil || !strings.Contains(err.Error(), "HEADSCALE_API_KEY is not set") || !strings.Contains(err.Error(), "headscale apikeys create") {
		t.Error(err)
	}
}

// TestAPIKeyIsKept where apiKey says, for its owner alone, and never over another.
func TestAPIKeyIsKept(t *testing.T) {
	f := loadVPS(t, "control")
	name := filepath.Join(f.Dir(), "secrets/headscale.key")
	if err := f.KeepAPIKey("hskey-api-1", false); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("kept as %v, %v", fi, err)
	}
	if err := f.KeepAPIKey("hskey-api-2", false); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("the second: %v", err)
	}
	if key, err := f.APIKey(); err != nil || key != "hskey-api-1" {
		t.Errorf("read as %s, %v", key.Reveal(), err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(AgeIdentityEnv, filepath.Join(f.Dir(), "id"))
	if err := os.WriteFile(filepath.Join(f.Dir(), "id"), []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Cluster.Headscale.APIKey = Ref{Age: "secrets/headscale.key.age"}
	if err := f.KeepAPIKey("hskey-api-3", false); err != nil {
		t.Fatal(err)
	}
	if key, err := f.APIKey(); err != nil || key != "hskey-api-3" {
		t.Errorf("read as %s, %v", key.Reveal(), err)
	}
	if text, _ := os.ReadFile(name + ".age"); strings.Contains(string(text), "hskey") {
		t.Error("it is not encrypted")
	}
	f.Cluster.Headscale.APIKey = Ref{Env: "X"}
	if err := f.KeepAPIKey("hskey-api-4", false); err == nil || !strings.Contains(err.Error(), "name a file") {
		t.Errorf("a variable: %v", err)
	}
}

// TestImagesThatNobodyCarries: the disk image with Headscale carries none of the fleet's
// container images.
func TestImagesThatNobodyCarries(t *testing.T) {
	text := strings.Replace(vps("control"), "version: 1\n", "version: 1\nimages: {generic-arm64: [\"a/b:1\"]}\n", 1)
	_, err := Load("fleet.yaml", []byte(text), known)
	if err == nil || !strings.Contains(err.Error(), `field "images.generic-arm64": only a node that runs Headscale has this board`) {
		t.Error(err)
	}
}

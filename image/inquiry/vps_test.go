//go:build linux

package inquiry

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// alone runs the test again in a network namespace of its own, where port 22 is free, and
// reports whether this is that run.
func alone(t *testing.T) bool {
	t.Helper()
	const sign = "INQUIRY_TEST_ALONE"
	if os.Getenv(sign) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), sign+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v (run the tests as root)\n%s", err, out)
	}
	return false
}

// machine is the machine that runs Headscale, as its fleet knows it.
type machine struct {
	t           *testing.T
	fleet       *fleet.Fleet
	host, login ssh.Signer
}

func newVPS(t *testing.T) *machine {
	dir := t.TempDir()
	f, err := fleet.Load(filepath.Join(dir, fleet.FileName), fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, fleet.SecretsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	v := &machine{t: t, fleet: f}
	for name, key := range map[string]*ssh.Signer{"control-host.key": &v.host, "control-login.key": &v.login} {
		signer, text := newKey(t)
		if err := os.WriteFile(filepath.Join(dir, fleet.SecretsDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		*key = signer
	}
	return v
}

func (v *machine) subject() []Subject {
	return []Subject{{Node: "vps", Number: "1", Address: netip.MustParseAddr("127.0.0.1")}}
}

// TestTheVPS: the machine is asked with the keys made for it at home, whatever ssh program
// is on this computer, and only if it shows its pinned host key. A machine in its place is
// told nothing and believed nothing.
func TestTheVPS(t *testing.T) {
	if !alone(t) {
		return
	}
	v := newVPS(t)
	t.Setenv("PATH", t.TempDir()) // no ssh
	stranger, _ := newKey(t)
	for _, c := range []struct {
		name        string
		host, login ssh.Signer
		silent      string
	}{
		{"itself", v.host, v.login, ""},
		{"a machine in its place", stranger, v.login, "it shows another ssh host key than the one made for it; nothing was told to it"},
		{"itself, of another owner", v.host, stranger, "vps does not take the key of cluster.headscale.server.loginKey"},
		{"itself again", v.host, v.login, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := 0
			s := &sshd{host: c.host, at: "127.0.0.1:22", answer: func() string { heard++; return says("The disk is full.") }, found: `[{"group":"Names","check":"code.example.net","verdict":"warning","detail":"leads nowhere"}]`}
			s.start(t, c.login.PublicKey())
			got, found := Ask(t.Context(), v.fleet, v.subject())[0], Examine(t.Context(), v.fleet, v.subject())[0]
			if !strings.Contains(got.Silent, c.silent) || !strings.Contains(found.Silent, c.silent) {
				t.Errorf("%+v, %+v; want %q", got, found, c.silent)
			}
			well := c.silent == ""
			if (got.Problem == "The disk is full.") != well || (got.Silent == "") != well || (fmt.Sprint(found.Findings) == "[{Names code.example.net warning leads nowhere}]") != well || (heard == 1) != well {
				t.Errorf("%+v, %+v, asked %d times", got, found, heard)
			}
		})
	}
	t.Run("with an input", func(t *testing.T) {
		s := &sshd{host: v.host, at: "127.0.0.1:22"}
		s.start(t, v.login.PublicKey())
		countsInput(t, v.fleet, v.subject()[0])
		saysNo(t, v.fleet, v.subject()[0])
	})
	if got := Ask(t.Context(), v.fleet, v.subject())[0]; got.State != "" || !strings.Contains(got.Silent, "vps does not answer at 127.0.0.1:22") || strings.Contains(got.Silent, "--address") { // nobody who asks has that flag
		t.Errorf("switched off: %+v", got)
	}
	want := "vps does not answer at " + strings.TrimPrefix(v.fleet.Cluster.Headscale.URL, "https://") + ":22"
	if got := Ask(t.Context(), v.fleet, []Subject{{Node: "vps"}})[0]; !strings.Contains(got.Silent, want) { // Headscale is silent
		t.Errorf("without an address in the tailnet: %+v, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(v.fleet.Dir(), fleet.SecretsDir, "known_hosts")); err == nil {
		t.Error("its host key was taken as first seen")
	}
}

// TestTheVPSInPublic: from a computer outside of the tailnet, the address there leads
// nowhere, or to somebody else's machine. The public name works, and the whole input
// arrives.
func TestTheVPSInPublic(t *testing.T) {
	if !alone(t) {
		return
	}
	v := newVPS(t)
	v.fleet.Cluster.Headscale.URL = "https://127.0.0.2"
	s := &sshd{host: v.host, at: "127.0.0.2:22", answer: func() string { return says("The disk is full.") }}
	s.start(t, v.login.PublicKey())
	heard := func(name string) {
		t.Helper()
		if got := Ask(t.Context(), v.fleet, v.subject())[0]; got.Problem != "The disk is full." {
			t.Errorf("%s: %+v", name, got)
		}
		countsInput(t, v.fleet, v.subject()[0])
		saysNo(t, v.fleet, v.subject()[0])
	}
	heard("nobody is at its address")
	other := &sshd{at: "127.0.0.1:22"}
	other.start(t, v.login.PublicKey())
	heard("somebody else is")
}

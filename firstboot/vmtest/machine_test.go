//go:build vm && linux

package vmtest

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/qemu"
	"github.com/going-mobile/imagebuilder/image/qemu/guest"
)

// stepLimit bounds every wait: emulation on a busy machine is many times
// slower than on a quiet one.
var stepLimit = 12 * time.Minute

func init() {
	if os.Getenv("K3S") != "" { // a second real server was seen to join after six minutes
		stepLimit = 30 * time.Minute
	}
}

const gib = 1 << 30

// machine is a computer with a disk of its own, which outlives its boots.
type machine struct {
	*guest.Guest
	t      testing.TB // the story that is told now
	life   context.Context
	config qemu.Config
	signer ssh.Signer
	on     time.Time // when it was switched on
}

// newMachine puts a copy of the image into a computer that is switched off.
func newMachine(t testing.TB, boardName, img string) *machine {
	t.Helper()
	// A short path: a unix socket's may have 107 bytes, unix(7).
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	port, err := qemu.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, life: t.Context(), config: qemu.Config{Board: loadBoard(t, boardName), Image: img, Dir: dir, DiskSize: 8 * gib, Memory: "1G", SSHPort: port, QMP: dir + "/qmp"}}
	if m.realK3s() { // a server alone takes 760 MB
		m.config.Memory = "2G"
	}
	m.signer = newSigner(t)
	t.Cleanup(m.scrap)
	return m
}

// newSigner is a person's ssh key.
func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func (m *machine) realK3s() bool { return realK3s(m.config.Board.Arch) }

// scrap pulls the plug and, after a failure, shows what the node said last.
func (m *machine) scrap() {
	if m.Guest != nil && m.t.Failed() && !m.Ended() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		out, _ := m.Run(ctx, "systemctl --failed --no-legend; journalctl -b -u 'firstboot*' -u k3s -u tailscaled --no-pager | tail -60; cat /etc/rancher/k3s/config.yaml; ip -br a")
		cancel()
		m.t.Logf("the node:\n%s", out)
	}
	if m.Guest != nil {
		if m.t.Failed() {
			m.t.Logf("its serial line:\n%s", m.Tail(50))
		}
		m.Kill()
	}
	os.RemoveAll(m.config.Dir)
}

func (m *machine) disk() string { return filepath.Join(m.config.Dir, "disk.img") }

// flash puts the image onto the disk, over what was there.
func (m *machine) flash() {
	m.t.Helper()
	if err := os.Remove(m.disk()); err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	if _, err := qemu.Prepare(m.config); err != nil {
		m.t.Fatal(err)
	}
}

// personalise writes node.yaml onto the disk, with the program that a person
// would use, and lets the test log in.
func (m *machine) personalise(cfg *node.Config) {
	m.t.Helper()
	cfg.SSH.AuthorizedKeys = []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(m.signer.PublicKey())))}
	text, err := node.Marshal(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := qemu.Prepare(m.config); err != nil {
		m.t.Fatal(err)
	}
	file := filepath.Join(m.config.Dir, "node.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		m.t.Fatal(err)
	}
	run(m.t, builder, "personalize", m.disk(), "--node-config", file)
}

// powerOn starts the machine, with further arguments for QEMU.
func (m *machine) powerOn(extra ...string) {
	m.t.Helper()
	c := m.config
	c.Extra = extra
	m.on = time.Now()
	g, err := guest.Start(m.life, c, m.signer)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Guest = g
}

// bounded runs one step of a test within the limit.
func (m *machine) bounded(step func(ctx context.Context) error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), stepLimit)
	defer cancel()
	if err := step(ctx); err != nil {
		m.t.Fatal(err)
	}
}

// see waits for a pattern on the serial line and returns the time since the
// machine was switched on.
func (m *machine) see(pattern string) time.Duration {
	m.t.Helper()
	m.bounded(func(ctx context.Context) error {
		_, err := m.WaitSerial(ctx, pattern)
		return err
	})
	return time.Since(m.on).Round(100 * time.Millisecond)
}

const multiUser = `Reached target Multi-User System`

func (m *machine) seeJoined() time.Duration {
	m.t.Helper()
	return m.see("firstboot: joined node=")
}

// seeProblem waits until the serial line names a problem.
func (m *machine) seeProblem(code string) {
	m.t.Helper()
	m.see("firstboot: .* problem=" + regexp.QuoteMeta(code) + ": ")
}

// sh runs a command on the node, over SSH.
func (m *machine) sh(format string, args ...any) (out string) {
	m.t.Helper()
	m.bounded(func(ctx context.Context) (err error) {
		out, err = m.Run(ctx, fmt.Sprintf(format, args...))
		return err
	})
	return strings.TrimSpace(out)
}

func (m *machine) powerOff() {
	m.t.Helper()
	m.bounded(m.PowerOff)
}

// status reads what programs read.
func (m *machine) status() firstboot.Status {
	m.t.Helper()
	var s firstboot.Status
	if err := json.Unmarshal([]byte(m.sh("cat /run/firstboot/status.json")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// until asks the status again and again until it is right.
func (m *machine) until(what string, right func(firstboot.Status) bool) firstboot.Status {
	m.t.Helper()
	for end := time.Now().Add(stepLimit); ; time.Sleep(2 * time.Second) {
		s := m.status()
		if right(s) {
			return s
		}
		if time.Now().After(end) {
			m.t.Fatalf("not %s: %s", what, s.Line())
		}
	}
}

// boot names the boot partition of the disk for mtools.
func (m *machine) boot() string {
	m.t.Helper()
	img, err := inspect.Open(m.disk())
	if err != nil {
		m.t.Fatal(err)
	}
	defer img.Close()
	return fmt.Sprintf("%s@@%d", m.disk(), img.Layout.Partitions[0].Start)
}

// bootFile reads a file of the boot partition of a machine that is off, as a
// laptop would.
func (m *machine) bootFile(name string) string {
	m.t.Helper()
	return run(m.t, "mtype", "-i", m.boot(), "::"+name)
}

// screenshot keeps the screen where SCREENS says so.
func (m *machine) screenshot(name string) {
	m.t.Helper()
	dir := os.Getenv("SCREENS")
	if dir == "" {
		return
	}
	abs, err := filepath.Abs(filepath.Join(dir, name+".png"))
	if err == nil {
		err = m.Screenshot(abs)
	}
	if err != nil {
		m.t.Error(err)
	}
}

//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/qemu"
	"github.com/going-mobile/imagebuilder/image/qemu/guest"
)

// bootLimit bounds one boot. Emulation on a busy machine is many times slower
// than on a quiet one.
const bootLimit = 10 * time.Minute

const gib = 1 << 30

// computer is an emulated board with a disk of its own, which outlives its
// boots. Only one is switched on at a time: none of these tests is parallel.
type computer struct {
	*guest.Guest
	t      *testing.T
	config qemu.Config
	signer ssh.Signer
	name   string // of the node; "" is test-node
	yaml   string // more of node.yaml
}

// newComputer puts a copy of the image into a board that is switched off.
func newComputer(t *testing.T, boardName, img string, diskSize int64) *computer {
	t.Helper()
	b, err := board.Load(boardName, boards.FS)
	if err != nil {
		t.Fatal(err)
	}
	port, err := qemu.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &computer{t: t, config: qemu.Config{Board: b, Image: img, Dir: dir, DiskSize: diskSize, SSHPort: port, QMP: filepath.Join(dir, "qmp")}}
	if c.signer, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	if _, err := qemu.Prepare(c.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.lastWords)
	return c
}

// lastWords pulls the plug and, after a failure, shows what the serial line
// had to say.
func (c *computer) lastWords() {
	if c.Guest == nil {
		return
	}
	c.Kill()
	if c.t.Failed() {
		c.t.Logf("the serial line's last lines:\n%s", c.Tail(60))
	}
}

func (c *computer) disk() string { return filepath.Join(c.config.Dir, "disk.img") }

// personalise gives the computer a name and this test's key. Its Headscale
// server is a closed port: joining is told elsewhere (firstboot/vmtest).
func (c *computer) personalise() {
	c.t.Helper()
	name := cmp.Or(c.name, "test-node")
	yaml := `version: 1
node: ` + name + `
site: lab
role: server
headscale:
  url: http://10.0.2.2:9
  authKey: hskey-auth-abcdefghijkl-` + strings.Repeat("a", 56) + `
k3s:
  init: true
  servers: [` + name + `]
  token: abcdefghijklmnop
ssh:
  authorizedKeys:
    - ` + string(ssh.MarshalAuthorizedKey(c.signer.PublicKey())) + c.yaml
	if _, err := flash.Personalize(c.t.Context(), c.disk(), flash.Node{Board: c.config.Board.Name, YAML: []byte(yaml)}); err != nil {
		c.t.Fatal(err)
	}
}

// powerOn starts the computer. SERIAL_LOG=FILE shows its serial line to
// somebody who cannot wait for the end of the test.
func (c *computer) powerOn() {
	c.t.Helper()
	g, err := guest.Start(c.t.Context(), c.config, c.signer)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Guest = g
	if file := os.Getenv("SERIAL_LOG"); file != "" {
		go func() {
			for ; !g.Ended(); time.Sleep(time.Second) {
				_ = os.WriteFile(file, []byte(g.Serial()), 0o600)
			}
		}()
	}
}

// bounded runs one step of a test within the limit.
func (c *computer) bounded(step func(ctx context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), bootLimit)
	defer cancel()
	if err := step(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// sh runs a command on the node, over SSH.
func (c *computer) sh(command string) (out string) {
	c.t.Helper()
	c.bounded(func(ctx context.Context) (err error) {
		out, err = c.Run(ctx, command)
		return err
	})
	return strings.TrimSpace(out)
}

// see waits for a pattern on the serial line.
func (c *computer) see(pattern string) (found []string) {
	c.t.Helper()
	c.bounded(func(ctx context.Context) (err error) {
		found, err = c.WaitSerial(ctx, pattern)
		return err
	})
	return found
}

// startsTo switches the machine on and waits for a pattern. An emulated processor
// whose timers no longer come (QEMU 9 with two of them on a busy computer; the
// kernel finds out) is switched off and on: where the plug is pulled anyway that is
// one time more.
func (c *computer) startsTo(pattern string) {
	c.t.Helper()
	for range 3 {
		c.powerOn()
		if found := c.see("(" + pattern + ")|rcu: INFO: rcu_preempt detected stalls"); found[1] != "" {
			return
		}
		c.t.Log("the emulated processor stands still")
		c.Kill()
	}
	c.t.Fatal("it stands still every time")
}

// doesNotSee waits as long as it takes to show that a pattern does not come.
func (c *computer) doesNotSee(pattern string, within time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), within)
	defer cancel()
	if found, err := c.WaitSerial(ctx, pattern); err == nil {
		c.t.Errorf("%q came all the same", found)
	}
}

// untilRunning waits until systemd has nothing left to start, and returns the
// seconds since the machine was switched on.
func (c *computer) untilRunning() time.Duration {
	c.t.Helper()
	begin := time.Now()
	state := c.sh("systemctl is-system-running --wait || true")
	took := time.Since(begin).Round(time.Second)
	if state != "running" {
		c.t.Fatalf("systemd is %q\n%s", state, c.sh("systemctl --failed --no-pager; journalctl -b -p warning --no-pager | tail -50"))
	}
	c.t.Logf("%s after %v: %s", state, took, c.sh("systemd-analyze time | head -1; systemd-analyze blame --no-pager | head -5"))
	return took
}

func (c *computer) powerOff() {
	c.t.Helper()
	c.bounded(c.PowerOff)
}

// partition returns where a partition of the computer's disk lies, by number.
func (c *computer) partition(number int) disk.Partition {
	c.t.Helper()
	for _, p := range openImage(c.t, c.disk()).Layout.Partitions {
		if p.Number == number {
			return p
		}
	}
	c.t.Fatalf("the disk has no partition %d", number)
	return disk.Partition{}
}

// mtools works on the boot partition of a computer that is switched off.
func (c *computer) mtools(program string, args ...string) string {
	c.t.Helper()
	at := fmt.Sprintf("%s@@%d", c.disk(), c.partition(1).Start)
	cmd := exec.Command(program, append([]string{"-i", at}, args...)...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %v: %v (is it installed? run `make deps`)\n%s", program, args, err, out)
	}
	return string(out)
}

// bootFile reads a file of the boot partition.
func (c *computer) bootFile(name string) string {
	c.t.Helper()
	return c.mtools("mtype", "::"+name)
}

// alter changes one bit in the middle of a file of the boot partition.
func (c *computer) alter(name string) {
	c.t.Helper()
	data := []byte(c.bootFile(name))
	data[len(data)/2] ^= 1
	c.putBootFile(name, data)
}

// putBootFile writes a file of the boot partition.
func (c *computer) putBootFile(name string, data []byte) {
	c.t.Helper()
	from := filepath.Join(c.t.TempDir(), "file")
	if err := os.WriteFile(from, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.mtools("mcopy", "-o", from, "::"+name)
}

// enlarge makes the disk larger, as cloning it to a larger one does.
func (c *computer) enlarge(size int64) {
	c.t.Helper()
	if err := os.Truncate(c.disk(), size); err != nil {
		c.t.Fatal(err)
	}
}

//go:build vm && linux

package vmtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestStorageByTPM encrypts a PC whose TPM keeps the disk's share. With that TPM and the same state
// of Secure Boot it comes back by itself; with another TPM not at all; with Secure Boot switched on
// when its owner agrees, once.
func TestStorageByTPM(t *testing.T) {
	net, img, cards := newTailnet(t), image(t, "generic-amd64"), lan(t)
	home := net.holder(img, cards[0], "home-pi", "cabin-pc")
	cabin, _ := net.encrypted(img, "home-pi", "cabin-pc")
	own, another := cabin.newChip("own"), cabin.newChip("another")
	cabin.powerOn(own.plugged(cards[1])...)
	t.Logf("cabin-pc joined after %v", cabin.seeJoined())
	cabin.isSealed()
	if clear := cabin.sh("grep -c ^disk: /var/lib/imagebuilder/firstboot/storage.yaml || true"); clear != "0" {
		t.Error("the disk's share is there in the clear")
	}
	cabin.plants()
	cabin.powerOff()
	cabin.tellsNothing()

	cabin.powerOn(own.plugged(cards[1])...)
	t.Logf("the TPM opened its share, joined after %v", cabin.seeJoined())
	cabin.hasPlanted()
	cabin.powerOff()

	cabin.powerOn(another.plugged(cards[1])...)
	cabin.seeProblem("tpm-other")
	cabin.locked()
	cabin.powerOff()

	cabin.config.SecureBoot = true
	cabin.powerOn(own.plugged(cards[1])...)
	cabin.seeProblem("tpm-changed")
	cabin.locked()
	cabin.screenshot("tpm-changed")
	since := home.sh("firstboot unlock cabin-pc | jq -r 'select(.why == \"sealed\").since'")
	home.sh("firstboot unlock --since %s cabin-pc", since)
	t.Logf("with its owner's word, joined after %v", cabin.seeJoined())
	cabin.hasPlanted()
	cabin.isSealed()
	cabin.powerOff()

	cabin.powerOn(own.plugged(cards[1])...)
	t.Logf("with Secure Boot, joined after %v", cabin.seeJoined())
	cabin.hasPlanted()
}

// isSealed waits until the next start needs nobody's help. That takes no longer than the first
// check of a joined node.
func (m *machine) isSealed() {
	m.t.Helper()
	m.sh("until firstboot doctor | grep -q 'share of the key .*sealed by the TPM'; do sleep 5; done")
}

// chip is a TPM, whose state outlives the machine's boots.
type chip struct {
	t      testing.TB
	state  string
	socket string
	ended  chan struct{} // closed when it is off
}

func (m *machine) newChip(name string) *chip {
	m.t.Helper()
	c := &chip{t: m.t, state: filepath.Join(m.config.Dir, "tpm-"+name), socket: filepath.Join(m.config.Dir, name+".sock"), ended: make(chan struct{})}
	close(c.ended)
	if err := os.Mkdir(c.state, 0o700); err != nil {
		m.t.Fatal(err)
	}
	return c
}

// plugged starts the TPM for one boot, and adds to QEMU's arguments what plugs it in. It
// ends with QEMU.
func (c *chip) plugged(extra []string) []string {
	c.t.Helper()
	<-c.ended
	_ = os.Remove(c.socket)
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", "dir="+c.state, "--ctrl", "type=unixio,path="+c.socket)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		c.t.Fatalf("%v (run make deps)", err)
	}
	ended := make(chan struct{})
	c.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if listens(c.socket) {
			return append(strings.Fields("-chardev socket,id=tpm,path="+c.socket+" -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-tis,tpmdev=tpm0"), extra...)
		}
	}
	_ = cmd.Process.Kill()
	<-ended
	c.t.Fatalf("swtpm does not start: %s", out.String())
	return nil
}

// listens reports whether a program accepts connections at a socket, whose file exists earlier:
// flag __SO_ACCEPTCON of proc_net_unix(5).
func listens(socket string) bool {
	list, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) == 8 && f[7] == socket && f[3] == "00010000" {
			return true
		}
	}
	return false
}

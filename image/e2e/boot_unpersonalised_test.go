//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAnUnpersonalisedNodeSaysWhatItNeeds switches an image on as it is.
// SCREENSHOTS=DIR keeps what was on the screen.
func TestAnUnpersonalisedNodeSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	eachBoard(t, func(t *testing.T, board, img string) {
		c := newComputer(t, board, img, 8*gib)
		c.powerOn()
		c.see(`firstboot: needs-person .*problem=node-empty: .*imagebuilder personalize`)
		c.see(` login: `)
		if board == "rpi4" { // QEMU has neither its screen nor a button
			time.Sleep(10 * time.Second) // the boot partition is written at once: mounted with "sync"
			c.Kill()
		} else {
			c.screenshot(board)
			c.press()
			c.endedWithoutFailure()
		}
		if status := c.bootFile("STATUS.TXT"); !strings.Contains(status, "never personalised") || !strings.Contains(status, "imagebuilder personalize") {
			t.Errorf("STATUS.TXT:\n%s", status)
		}
	})
}

func (c *computer) screenshot(name string) {
	c.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = c.t.TempDir()
	}
	time.Sleep(12 * time.Second) // firstboot repaints every 10 s
	file := filepath.Join(dir, name+".png")
	if err := c.Screenshot(file); err != nil {
		c.t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() < 2000 {
		c.t.Errorf("the screen is empty: %v", err)
	}
}

// press pushes the power button and waits for the node to shut down.
func (c *computer) press() {
	c.t.Helper()
	if err := c.PressPower(); err != nil {
		c.t.Fatal(err)
	}
	c.bounded(c.Wait)
	if !strings.Contains(c.Serial(), "reboot: Power down") && !strings.Contains(c.Serial(), "Stopping") {
		c.t.Errorf("the button ended more than the node: %s", c.Tail(5))
	}
}

// endedWithoutFailure reads the journal from the disk: nobody can log in to a
// node that was not personalised.
func (c *computer) endedWithoutFailure() {
	c.t.Helper()
	dir := c.t.TempDir()
	run(c.t, "debugfs", "-R", "rdump /log/journal "+dir, c.dataAt())
	out, err := exec.Command("journalctl", "-D", filepath.Join(dir, "journal"), "-m", "-o", "cat", "--no-pager", "_PID=1").Output()
	if err != nil {
		c.t.Fatalf("journalctl: %v", err)
	}
	journal := string(out)
	if !strings.Contains(journal, "Startup finished in") {
		c.t.Errorf("systemd never finished starting:\n%s", tail(journal))
	}
	for line := range strings.Lines(journal) {
		if strings.Contains(line, "Failed") || strings.Contains(line, "Dependency failed") || strings.Contains(line, "failed with") {
			c.t.Errorf("%s", line)
		}
	}
}

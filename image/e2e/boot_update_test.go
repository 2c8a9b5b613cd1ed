//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestAnUpdateGoesToTheOtherSlot tells two updates of a node: a whole one, of which
// the connection broke at first, and one that copies from what runs, back into the
// first slot; on the Pi the first alone. Each is tried, blessed and kept.
func TestAnUpdateGoesToTheOtherSlot(t *testing.T) {
	for _, board := range trialBoards {
		t.Run(board, func(t *testing.T) {
			one := image(t, board)
			two := nextImage(t, board, one, "two")
			o := newUpdater(t)
			c := newComputer(t, board, one, 8*gib)
			c.yaml = "ownerKey: " + o.key + "\n"
			c.personalise()
			c.powerOn()
			c.untilRunning()

			whole := o.update("whole", "--image", two)
			if said := c.update(o.half(whole)); !strings.Contains(said, "the update ends too early") {
				t.Errorf("half an update: %s", said)
			}
			c.takes(whole, "slot b has two, and is tried at the next start")
			c.triesAndKeeps("b", "two")
			if said := c.update(whole); !strings.Contains(said, "this node runs two already, in slot b: nothing was done") {
				t.Errorf("the same once more: %s", said)
			}

			if board != "rpi4" { // whose emulated card takes 150 KB a second
				c.copiesWhatItHas(o, one, two)
			}
			c.powerOff()
			c.diskIsValid()
		})
	}
}

// copiesWhatItHas takes an update of two, which runs, back into slot a.
func (c *computer) copiesWhatItHas(o *updater, one, two string) {
	c.t.Helper()
	three := nextImage(c.t, c.config.Board.Name, one, "three")
	part := o.update("part", "--image", three, "--base", two)
	if said := c.update(o.update("wrong", "--image", three, "--base", one)); !strings.Contains(said, "made from another image than runs here") {
		c.t.Errorf("an update from another base: %s", said)
	}
	c.takes(part, "slot a has three, and is tried at the next start")
	c.triesAndKeeps("a", "three")
	c.t.Logf("whole: %d bytes, against what runs: %d", o.size("whole"), o.size("part"))
	if o.size("part") > o.size("whole")/2 { // kernel and initramfs are sent as they are
		c.t.Error("what the node had was sent all the same")
	}
}

// nextImage is another image of the same inputs.
func nextImage(t *testing.T, board, first, version string, args ...string) string {
	t.Helper()
	args = append([]string{"--board", board, "--lock", first + ".lock.json", "--image-version", version}, args...)
	return buildOnce(t, filepath.Base(first)+"-"+version, args...)
}

// updater is an owner with a fleet, who serves updates to the emulated network.
type updater struct {
	t        *testing.T
	dir, key string
	address  string
}

func newUpdater(t *testing.T) *updater {
	t.Helper()
	dir := t.TempDir()
	run(t, builder, "fleet", "init", filepath.Join(dir, "fleet"), "--name", "shed", "--headscale", "https://headscale.example.net")
	text, err := os.ReadFile(filepath.Join(dir, "fleet", "fleet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`ownerKey: (\S+)`).FindSubmatch(text)
	if key == nil {
		t.Fatal("the fleet has no ownerKey")
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &updater{t, dir, string(key[1]), fmt.Sprintf("http://%s:%s/", host, u.Port())}
}

// update makes one and returns its address.
func (o *updater) update(name string, args ...string) string {
	o.t.Helper()
	args = append([]string{"update", "--quiet", "--fleet", filepath.Join(o.dir, "fleet", "fleet.yaml"), "--write", filepath.Join(o.dir, name)}, args...)
	run(o.t, builder, args...)
	return o.address + name
}

func (o *updater) size(name string) int64 {
	o.t.Helper()
	fi, err := os.Stat(filepath.Join(o.dir, name))
	if err != nil {
		o.t.Fatal(err)
	}
	return fi.Size()
}

// half is the address of the first half of an update.
func (o *updater) half(address string) string {
	o.t.Helper()
	name := strings.TrimPrefix(address, o.address)
	data, err := os.ReadFile(filepath.Join(o.dir, name))
	if err == nil {
		err = os.WriteFile(filepath.Join(o.dir, "half"), data[:len(data)/2], 0o600)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return o.address + "half"
}

// update pipes an update into the node, as ssh does, and returns what that says. A Pi's
// emulated card takes most of an hour for what a real one has in a minute.
func (c *computer) update(address string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 45*time.Minute)
	defer cancel()
	said, err := c.Run(ctx, "curl --silent --show-error --fail "+address+" | firstboot update - 2>&1 || true")
	if err != nil {
		c.t.Fatal(err)
	}
	return said
}

// takes an update, and tells how long it took and how often the boot partition was
// written for it: on a FAT that waits for its medium a kernel costs 34,000 writes.
func (c *computer) takes(address, words string) {
	c.t.Helper()
	writes := func() string {
		return c.sh("awk '{print $5}' /sys/class/block/$(basename $(findmnt -no SOURCE /boot/firmware))/stat")
	}
	begin, first := time.Now(), writes()
	if said := c.update(address); !strings.Contains(said, words) {
		c.t.Fatalf("the node says %q, not %q", said, words)
	}
	if options := c.sh("findmnt -no OPTIONS /boot/firmware"); !strings.Contains(options, "sync") {
		c.t.Errorf("the boot partition was left without sync: %s", options)
	}
	c.t.Logf("taken in %v; writes to the boot partition: %s before, %s after", time.Since(begin).Round(time.Second), first, writes())
}

// triesAndKeeps restarts the node twice: on trial, and after it was blessed.
func (c *computer) triesAndKeeps(slot, version string) {
	c.t.Helper()
	for _, trial := range []bool{true, false} {
		c.powerOff()
		c.powerOn()
		c.untilRunning()
		c.runsSlot(slot, trial)
		if release := c.sh("cat /usr/lib/os-release"); !strings.Contains(release, "IMAGE_VERSION="+version) {
			c.t.Errorf("slot %s does not run %s:\n%s", slot, version, release)
		}
		c.sh("systemctl is-active --wait firstboot-bless.service || systemctl start firstboot-bless.service")
	}
}

//go:build e2e

package e2e

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const volumesDisk = "longhorn: {disk: /dev/disk/by-id/virtio-volumes}\n"

// longhornDisk looks at the place of volumes while the disk is there.
func (c *computer) longhornDisk() {
	c.t.Helper()
	got := strings.Fields(c.sh("findmnt -no LABEL,FSTYPE,OPTIONS /var/lib/longhorn"))
	if len(got) != 3 || got[0] != "longhorn" || got[1] != "ext4" || strings.Contains(got[2], "noexec") {
		c.t.Errorf("volumes are on %q", got)
	}
	c.sh("cp /usr/bin/true /var/lib/longhorn/engine && /var/lib/longhorn/engine && rm /var/lib/longhorn/engine")
}

// TestALonghornDiskIsUsedOrMissed tells of a node that has a disk for volumes,
// loses it, finds others in its place and gets it back. Meanwhile nobody writes
// where it belongs.
func TestALonghornDiskIsUsedOrMissed(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.yaml = volumesDisk
	c.personalise()
	volumes := spare(t, 4*gib)
	c.with(map[string]string{"volumes": volumes})
	c.powerOn()
	c.untilRunning()
	c.isHealthy()
	c.longhornDisk()
	c.sh("echo kept > /var/lib/longhorn/kept; sync")
	c.powerOff()
	c.diskOfData(volumes)

	foreign := spare(t, 4*gib)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", foreign)
	blank := spare(t, 4*gib)
	for _, wrong := range []struct{ file, words string }{
		{"", "which this node has used so far, is not there"},
		{foreign, "is not empty: there is a Linux file system"},
		{blank, "is not the one that this node has used so far"},
	} {
		c.with(nil)
		before := ""
		if wrong.file != "" {
			before = hashFile(t, wrong.file)
			c.with(map[string]string{"volumes": wrong.file})
		}
		c.powerOn()
		c.untilRunning()
		if said := c.sh("journalctl -b -u firstboot-identity -o cat --no-pager"); !strings.Contains(said, "longhorn-disk: ") || !strings.Contains(said, wrong.words) {
			t.Errorf("%s: the node says %q", wrong.words, said)
		}
		if got := c.sh("touch /var/lib/longhorn/x 2>&1 || true; ls -A /var/lib/longhorn"); !strings.Contains(got, "not permitted") || strings.Contains(got, "\n") {
			t.Errorf("%s: the place of volumes: %q", wrong.words, got)
		}
		c.powerOff()
		if wrong.file != "" && hashFile(t, wrong.file) != before {
			t.Errorf("%s: it was written to", wrong.words)
		}
	}

	c.with(map[string]string{"volumes": volumes})
	c.powerOn()
	c.untilRunning()
	c.longhornDisk()
	if got := c.sh("cat /var/lib/longhorn/kept"); got != "kept" {
		t.Errorf("the disk lost a file: %q", got)
	}
	c.powerOff()
	c.diskOfData(volumes)
}

// TestALonghornDiskSurvivesPowerCuts pulls the plug CUTS times (6) while a node
// makes its disk for volumes, each time at another moment, and finishes each.
func TestALonghornDiskSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	cuts, seed := number(t, "CUTS", 6), number(t, "POWERCUT_SEED", int(time.Now().Unix()))
	t.Logf("POWERCUT_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.yaml = volumesDisk
	c.personalise()
	used := filepath.Join(t.TempDir(), "used.img")
	const from, to = "Starting Give this node its name and identity", "Finished Give this node its name and identity"
	var whole time.Duration
	fresh := func() (volumes string) {
		volumes = spare(t, 4*gib)
		c.with(map[string]string{"volumes": volumes})
		return volumes
	}
	// A node whose identity was born, so that the step is nearly the disk's.
	fresh()
	c.with(nil)
	c.powerOn()
	c.untilRunning()
	c.powerOff()
	run(t, "cp", "--sparse=always", c.disk(), used)
	fresh()
	c.powerOn()
	c.see(from)
	begin := time.Now()
	c.see(to)
	whole = time.Since(begin)
	c.Kill()
	t.Logf("making the disk takes %v", whole.Round(time.Millisecond))
	begun := 0
	for cut := range cuts {
		run(t, "cp", "--sparse=always", used, c.disk())
		volumes := fresh()
		at := whole*time.Duration(cut)/time.Duration(cuts) + time.Duration(rnd.Int64N(int64(whole)/int64(cuts)))
		c.powerOn()
		c.see(from)
		time.Sleep(at)
		c.Kill()
		if strings.HasPrefix(markOf(t, volumes), "imagebuilder: making") {
			begun++
		}
		c.powerOn()
		c.see(to)
		c.longhornDisk()
		c.powerOff()
		c.diskOfData(volumes)
		if mark := markOf(t, volumes); !strings.HasPrefix(mark, "imagebuilder: made longhorn disk of test-node\n") {
			t.Fatalf("cut after %v: the disk says %q", at, mark)
		}
	}
	t.Logf("%d of %d finished; %d of them were cut while the disk was half made", cuts, cuts, begun)
}

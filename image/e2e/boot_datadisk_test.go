//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/qemu"
)

const dataDisk = "dataDisk: /dev/disk/by-id/virtio-own\n"

// spare makes a file that is a blank disk.
func spare(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "spare.img")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	return name
}

// with plugs disks in beside the computer's own, by their serial numbers.
func (c *computer) with(disks map[string]string) {
	c.config.Extra = nil
	for serial, file := range disks {
		c.config.Extra = append(c.config.Extra, "-drive", "if=none,id="+serial+",format=raw,discard=unmap,cache=unsafe,file="+file,
			"-device", "virtio-blk-pci,drive="+serial+",serial="+serial)
	}
}

// written is how many bytes the node has written to a disk since power-on.
func (c *computer) written(drive string) (bytes int64) {
	c.t.Helper()
	answer, err := qemu.Execute(c.config.QMP, "query-blockstats", map[string]any{})
	if err != nil {
		c.t.Fatal(err)
	}
	var stats []struct {
		Device string
		Stats  struct {
			Bytes int64 `json:"wr_bytes"`
		}
	}
	if err := json.Unmarshal(answer, &stats); err != nil {
		c.t.Fatal(err)
	}
	for _, s := range stats {
		if s.Device == drive {
			return s.Stats.Bytes
		}
	}
	c.t.Fatalf("QEMU knows no drive %s: %s", drive, answer)
	return 0
}

// says wants these words of a page on the serial line, however its lines are
// broken, and in STATUS.TXT after the plug was pulled.
func (c *computer) says(words ...string) {
	c.t.Helper()
	for _, w := range words {
		c.see(strings.ReplaceAll(regexp.QuoteMeta(w), " ", `\s+`))
	}
	time.Sleep(2 * time.Second) // STATUS.TXT comes after the page
	c.Kill()
	status := strings.Join(strings.Fields(c.bootFile("STATUS.TXT")), " ")
	for _, w := range words {
		if !strings.Contains(status, w) {
			c.t.Errorf("STATUS.TXT lacks %q:\n%s", w, status)
		}
	}
}

// TestADataDiskHoldsEverything tells the life of a node whose data is on a disk
// of its own: the boot disk is nearly never written, the disk is found whatever
// becomes of node.yaml, it grows, and without it nothing starts.
func TestADataDiskHoldsEverything(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.yaml = dataDisk
	c.personalise()
	own, other := spare(t, 4*gib), spare(t, 4*gib)
	c.with(map[string]string{"own": own, "other": other})
	c.powerOn()
	c.untilRunning()
	c.isHealthy()
	disk := c.sh("basename $(readlink -f /dev/disk/by-id/virtio-own)")
	if got := c.sh("findmnt -no SOURCE,LABEL,FSTYPE /var"); strings.Join(strings.Fields(got), " ") != "/dev/"+disk+"1 data ext4" {
		t.Errorf("/var is %q, the disk is %s", got, disk)
	}
	c.sh("echo kept > /var/lib/kept; sync")
	born := c.identity()
	boot, data := c.written("disk"), c.written("own")
	t.Logf("a first boot wrote %.1f MB to the boot disk, %.1f MB to the data disk", float64(boot)/1e6, float64(data)/1e6)
	if boot > 2e6 || data < 10e6 {
		t.Error("the data disk should have nearly all")
	}
	c.powerOff()
	c.diskOfData(own)

	// node.yaml is spoilt, the disk has another name and more room.
	c.putBootFile("node.yaml", []byte(strings.Repeat("no: yaml: at: all\n", 32<<10/18)))
	if err := os.Truncate(own, 8*gib); err != nil {
		t.Fatal(err)
	}
	c.with(map[string]string{"aaa": other, "renamed": own})
	c.powerOn()
	c.untilRunning()
	if again := c.identity(); again != born {
		t.Errorf("the node's identity changed\n%s\n%s", born, again)
	}
	if got := c.sh("cat /var/lib/kept"); got != "kept" {
		t.Errorf("/var lost a file: %q", got)
	}
	if size := c.dataBytes(); size < 7*gib {
		t.Errorf("data grew to %d bytes only", size)
	}
	boot = c.written("disk")
	t.Logf("a second boot wrote %.1f MB to the boot disk", float64(boot)/1e6)
	c.powerOff()
	c.diskOfData(own)

	// A blank disk, or none, does not take its place.
	c.personalise()
	before := hashFile(t, other)
	c.with(map[string]string{"own": other})
	c.powerOn()
	c.says("is not the one that this node has used so far", "Plug in that very disk")
	c.with(nil)
	c.powerOn()
	c.says("which this node has used so far, is not there")
	if hashFile(t, other) != before {
		t.Error("the blank disk was written to")
	}

	// Two copies are one too many, and the one is enough.
	c.with(map[string]string{"own": own, "copy": twin(t, own)})
	c.powerOn()
	c.says("is there more than once", "Unplug the copy")
	c.with(map[string]string{"own": own})
	c.powerOn()
	c.untilRunning()
	if again := c.identity(); again != born {
		t.Errorf("the node's identity changed\n%s\n%s", born, again)
	}
	c.powerOff()

	// The card is written anew: the node is found on its disk.
	if err := os.Remove(c.disk()); err != nil {
		t.Fatal(err)
	}
	if _, err := qemu.Prepare(c.config); err != nil {
		t.Fatal(err)
	}
	c.personalise()
	c.powerOn()
	c.untilRunning()
	if again := c.identity(); again != born {
		t.Errorf("the node's identity changed\n%s\n%s", born, again)
	}
	c.powerOff()
	c.diskOfData(own)
}

func twin(t *testing.T, file string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "twin.img")
	run(t, "cp", "--sparse=always", file, copied)
	return copied
}

// diskOfData lets other people's programs judge a data disk.
func (c *computer) diskOfData(file string) {
	c.t.Helper()
	run(c.t, "sfdisk", "--verify", file)
	if out := run(c.t, "sgdisk", "--verify", file); !strings.Contains(out, "No problems found") {
		c.t.Errorf("sgdisk: %s", out)
	}
	at := file + "?offset=" + fmt.Sprint(4<<20)
	run(c.t, "e2fsck", "-f", "-n", at)
	if out := run(c.t, "dumpe2fs", "-h", at); !strings.Contains(out, "Remount read-only") {
		c.t.Errorf("dumpe2fs: %s", out)
	}
}

// TestADataDiskThatCannotBeUsedIsLeftAlone gives a new node every wrong disk
// in turn. Each is told, none is written to, the node becomes nobody; with the
// right one plugged in it goes on by itself.
func TestADataDiskThatCannotBeUsedIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.yaml = dataDisk
	c.personalise()
	foreign := spare(t, 4*gib)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", foreign)
	luks := spare(t, 4*gib)
	run(t, "sh", "-c", "head -c 4096 /dev/urandom | dd of="+luks+" bs=4096 seek=100 conv=notrunc status=none")
	small := spare(t, gib)
	theirs := spare(t, 4*gib)
	home := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	home.name, home.yaml = "home-node", dataDisk
	home.personalise()
	home.with(map[string]string{"own": theirs})
	home.powerOn()
	home.see("init: starting the system")
	home.Kill()
	for _, wrong := range []struct {
		file  string
		words []string
	}{
		{foreign, []string{"is not empty: there is a Linux file system (ext4) on it", "Nothing was changed on any disk", "virtio-own"}},
		{luks, []string{"is not empty: there is something unknown on it"}},
		{small, []string{"is too small: it holds 1.1 GB, at least 2.1 GB is needed"}},
		{theirs, []string{"belongs to node home-node", "Plug in the disk of node test-node"}},
	} {
		before := hashFile(t, wrong.file)
		c.with(map[string]string{"own": wrong.file})
		c.powerOn()
		c.says(wrong.words...)
		if hashFile(t, wrong.file) != before {
			t.Errorf("%s was written to", wrong.words[0])
		}
	}

	c.yaml = "dataDisk: {size: 4GiB}\n"
	c.personalise()
	one, two := spare(t, 4*gib), spare(t, 4*gib)
	c.with(map[string]string{"one": one, "two": two})
	c.powerOn()
	c.says("More than one disk could be the disk for this computer's data (size 4GiB)", "virtio-one", "virtio-two")

	c.yaml = "dataDisk: /dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_own-0:0\n"
	c.personalise()
	c.with(nil)
	c.config.Extra = []string{"-device", "qemu-xhci,id=xhci", "-drive", "if=none,id=own,format=raw,file=" + one}
	c.powerOn()
	c.see(`usb-QEMU_QEMU_HARDDISK_own-0:0\)\s+is\s+not\s+there`)
	if _, err := qemu.Execute(c.config.QMP, "device_add", map[string]any{"driver": "usb-storage", "drive": "own", "serial": "own", "bus": "xhci.0"}); err != nil {
		t.Fatal(err)
	}
	c.untilRunning()
	c.isHealthy()
	c.powerOff()
	c.diskOfData(one)
	if hashFile(t, two) != hashFile(t, spare(t, 4*gib)) {
		t.Error("a disk that nobody chose was written to")
	}
}

// TestADataDiskIsTakenByANodeThatWasNobodyYet: a card that started without
// node.yaml has a data partition, and nobody on it. One that somebody lives on
// is not left.
func TestADataDiskIsTakenByANodeThatWasNobodyYet(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	own := spare(t, 4*gib)
	c.with(map[string]string{"own": own})
	c.powerOn()
	c.see("problem=node-empty")
	c.Kill()
	c.yaml = dataDisk
	c.personalise()
	c.powerOn()
	c.untilRunning()
	if got := c.sh("findmnt -no SOURCE /var; hostname"); !strings.Contains(got, "vd") || !strings.HasSuffix(strings.Fields(got)[0], "b1") {
		t.Errorf("/var and name are %q", got)
	}
	c.powerOff()
	c.diskOfData(own)

	c = newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.personalise()
	blank := spare(t, 4*gib)
	c.with(map[string]string{"own": blank})
	c.powerOn()
	c.untilRunning()
	born := c.identity()
	c.powerOff()
	c.yaml = dataDisk
	c.personalise()
	c.powerOn()
	c.untilRunning()
	c.see("problem=data-stays")
	if again := c.identity(); again != born {
		t.Errorf("the node's identity changed\n%s\n%s", born, again)
	}
	c.powerOff()
	if hashFile(t, blank) != hashFile(t, spare(t, 4*gib)) {
		t.Error("the blank disk was written to")
	}
}

// TestADataDiskSurvivesPowerCuts pulls the plug CUTS times (30) while a new
// node makes its disk, each time at another moment between the first look for
// it and the start of the system, and finishes each one.
func TestADataDiskSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	cuts, seed := number(t, "CUTS", 30), number(t, "POWERCUT_SEED", int(time.Now().Unix()))
	t.Logf("POWERCUT_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.yaml = dataDisk
	flashed := filepath.Join(t.TempDir(), "flashed.img")
	c.personalise()
	run(t, "cp", "--sparse=always", c.disk(), flashed)
	fresh := func() (own string) {
		run(t, "cp", "--sparse=always", flashed, c.disk())
		own = spare(t, 4*gib)
		c.with(map[string]string{"own": own})
		return own
	}
	const from, to = "init: looking for the data disk", "init: starting the system"
	fresh()
	c.powerOn()
	c.see(from)
	begin := time.Now()
	c.see(to)
	whole := time.Since(begin)
	c.Kill()
	t.Logf("making the disk takes %v", whole.Round(time.Millisecond))
	finished, begun := 0, 0
	for cut := range cuts {
		own := fresh()
		at := whole*time.Duration(cut)/time.Duration(cuts) + time.Duration(rnd.Int64N(int64(whole)/int64(cuts)))
		c.powerOn()
		c.see(from)
		time.Sleep(at)
		c.Kill()
		if strings.HasPrefix(markOf(t, own), "imagebuilder: making") {
			begun++
		}
		c.powerOn()
		c.see(`init: data on .*virtio-own(?s).*` + to)
		c.Kill()
		run(t, "sfdisk", "--verify", own)
		if mark := markOf(t, own); !strings.HasPrefix(mark, "imagebuilder: made data disk of test-node\n") {
			t.Fatalf("cut after %v: the disk says %q", at, mark)
		}
		finished++
		os.Remove(own)
	}
	t.Logf("%d of %d finished; %d of them were cut while the disk was half made", finished, cuts, begun)
}

// markOf is what the first sector of a disk says, behind what a BIOS executes.
func markOf(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 64)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(string(b), "\xcd\x18\xeb\xfe")
}

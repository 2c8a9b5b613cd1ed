package disks

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// seen is what inspect makes of a disk or a file.
func seen(t *testing.T, r ptableReader, size int64) content {
	t.Helper()
	table, err := ptable.Read(r, size, 512)
	if err != nil {
		table = nil
	}
	c, err := inspect(r, size, 512, table, Data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type ptableReader interface {
	ReadAt(p []byte, off int64) (int, error)
}

// What other programs put on a disk is theirs, by whatever program.
func TestADiskWithAnythingOnItIsForeign(t *testing.T) {
	dev := blankFile(t, 64*mib)
	for _, test := range []struct {
		command, what string
	}{
		{"mke2fs -q -F -t ext4 DEV", "ext4"},
		{"mke2fs -q -F -t ext2 -b 1024 DEV", "ext4"},
		{"mkswap DEV", "swap space"},
		{"mkfs.fat -F 32 DEV", "FAT"},
		{"mkfs.fat -F 16 DEV", "FAT"},
		{"echo label: dos | sfdisk -q DEV", "partition table"},
		{"echo , | sfdisk -q DEV", "partition table"},
		{"sgdisk -n 1:0:0 DEV", "GPT"},
		{"sgdisk -n 1:0:0 DEV && dd if=/dev/zero of=DEV bs=1M count=16 conv=notrunc status=none", "unknown"}, // the backup at the end
		{"mke2fs -q -F DEV && wipefs -q -a DEV", "unknown"},                                                  // which takes two bytes
		{"printf x | dd of=DEV bs=1 seek=4194303 conv=notrunc status=none", "unknown"},
		{"printf x | dd of=DEV bs=1 seek=67108863 conv=notrunc status=none", "unknown"},
		{"head -c 512 /dev/urandom | dd of=DEV bs=1 seek=4096 conv=notrunc status=none", "unknown"}, // a secret volume
	} {
		if err := os.Truncate(dev, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(dev, 64*mib); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-ec", strings.ReplaceAll(test.command, "DEV", dev))
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s\nIf it is missing: run make deps", test.command, err, out)
		}
		f, err := os.Open(dev)
		if err != nil {
			t.Fatal(err)
		}
		c := seen(t, f, 64*mib)
		f.Close()
		if c.state != foreign || !strings.Contains(c.what, test.what) {
			t.Errorf("%s: state %v, %q, want %q", test.command, c.state, c.what, test.what)
		}
	}
}

// A mark of work that was cut off outlives what others do with the disk: parted
// leaves the boot code alone, and what makes a file system in a partition never
// comes near it. Neither that nor a RAID's mark behind it is ours to format.
func TestABegunDiskWithSomethingOnItIsForeign(t *testing.T) {
	for _, p := range []Purpose{Data, Longhorn, System} {
		begun := cutdisk.New(64 * mib)
		begun.Sectors[0] = append(mark{purpose: p, node: "home-pi"}.encode(), make([]byte, 72)...)
		if c := seen(t, begun, begun.Size); c.state != making || c.node != "home-pi" {
			t.Errorf("%s, begun: %+v", p, c)
		}
		for what, put := range map[string]func(d *cutdisk.Disk){
			"somebody's table": func(d *cutdisk.Disk) { tableOn(t, d, contract.TypeESP) },
			"our own table":    func(d *cutdisk.Disk) { tableOn(t, d, p.partType()) }, // a file system in it may have been used since
			"a table of DOS": func(d *cutdisk.Disk) {
				copy(d.Sectors[0][446:], "\x00\xfe\xff\xff\x83\xfe\xff\xff\x00\x20\x00\x00\x00\x20\x00\x00")
				copy(d.Sectors[0][510:], "\x55\xaa")
			},
			"the end of a table":    func(d *cutdisk.Disk) { copy(d.Sectors[0][510:], "\x55\xaa") },
			"a RAID":                func(d *cutdisk.Disk) { d.Sectors[8] = append([]byte("\xfc\x4e\x2b\xa9"), make([]byte, 508)...) },
			"a volume group":        func(d *cutdisk.Disk) { d.Sectors[1] = append([]byte("LABELONE"), make([]byte, 504)...) },
			"something before 4 MB": func(d *cutdisk.Disk) { d.Sectors[8191] = bytes.Repeat([]byte{1}, 512) },
		} {
			d := begun.Clone(begun.Size)
			d.Sectors[0] = bytes.Clone(begun.Sectors[0])
			put(d)
			if c := seen(t, d, d.Size); c.state != foreign || !strings.Contains(c.what, "was begun as the "+string(p)+" disk of node home-pi, and something else is on it by now") {
				t.Errorf("%s, with %s: %+v", p, what, c)
			}
		}
	}
}

// tableOn writes a GPT with one partition, as programs do that leave boot code alone.
func tableOn(t *testing.T, d *cutdisk.Disk, partType string) {
	t.Helper()
	g := ptable.New(d.Size, 512, idA, bytes.Clone(d.Sectors[0]))
	g.Put(ptable.Entry{Number: 1, Type: partType, ID: idB, First: 8192, Sectors: 8192})
	if err := g.Write(d); err != nil {
		t.Fatal(err)
	}
}

// A disk that node.yaml names for the wrong purpose is whole, and nobody is told to
// erase it.
func TestADiskOfTheOtherPurposeIsNotDamaged(t *testing.T) {
	d := cutdisk.New(64 * mib)
	d.Sectors[0] = append(mark{true, Longhorn, "cabin-pi"}.encode(), make([]byte, 72)...)
	tableOn(t, d, contract.TypeLonghornDisk)
	c := seen(t, d, d.Size)
	err := Want{Purpose: Data, Node: "cabin-pi"}.judge(ssd("sda", "1"), c)
	faultIs(t, err, "taken: is the disk for Longhorn's volumes, of node cabin-pi; Correct node.yaml; Do not erase it")
}

// Flash that was erased reads as zeros or as ones.
func TestWhatIsBlank(t *testing.T) {
	d := cutdisk.New(64 * mib)
	if c := seen(t, d, d.Size); c.state != blank {
		t.Errorf("zeros: %+v", c)
	}
	for s := range int64(64 * mib / 512) {
		d.Sectors[s] = bytes.Repeat([]byte{0xff}, 512)
	}
	if c := seen(t, d, d.Size); c.state != blank {
		t.Errorf("ones: %+v", c)
	}
	d.Sectors[3] = append(bytes.Repeat([]byte{0xff}, 511), 0xfe)
	if c := seen(t, d, d.Size); c.state != foreign {
		t.Errorf("one bit: %+v", c)
	}
}

func TestAMarkIsReadAsItWasWritten(t *testing.T) {
	for _, want := range []mark{{false, Data, "cabin-pi"}, {true, Longhorn, strings.Repeat("n", 63)}} {
		got, ok := parseMark(append(want.encode(), 1, 2, 3))
		if !ok || got != want {
			t.Errorf("%+v: %v", got, ok)
		}
		spoilt := want.encode()
		spoilt[bootCode-1] = 1
		if got, ok := parseMark(spoilt); ok {
			t.Errorf("spoilt: %+v", got)
		}
	}
	// A PC's BIOS may list the disk first, and executes what is there.
	b := mark{true, Data, "cabin-pi"}.encode()
	if !bytes.HasPrefix(b, []byte("\xcd\x18\xeb\xfeimagebuilder: made data disk of cabin-pi\n\x00")) {
		t.Errorf("the mark begins with % x", b[:8])
	}
	old := append(b[4:], 0, 0, 0, 0) // as it was before
	if got, ok := parseMark(old); !ok || got != (mark{true, Data, "cabin-pi"}) {
		t.Errorf("a disk that was made before: %+v %v", got, ok)
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add(mark{true, Data, "n"}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < bootCode {
			return
		}
		if m, ok := parseMark(b); ok && !bytes.Equal(m.encode(), b[:bootCode]) && !bytes.Equal(m.encode()[4:], b[:bootCode-4]) {
			t.Errorf("%+v", m)
		}
	})
}

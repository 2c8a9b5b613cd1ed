package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

const (
	mib      = 1 << 20
	slotSize = 16 * mib
	diskSize = 640 * mib
)

// flashed is the disk after an image made by the tools was written to it.
func flashed(t *testing.T, scheme contract.Scheme) *cutdisk.Disk {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 30*mib); err != nil {
		t.Fatal(err)
	}
	script := "label: dos\nlabel-id: 0xdeadbeef\nstart=8192,size=32768,type=c\nstart=40960,size=16384,type=83\n"
	if scheme == contract.GPT {
		script = "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\nstart=8192,size=32768,type=U,name=boot\n" +
			"start=40960,size=16384,type=" + contract.TypeRootAMD64 + ",name=root-a\n"
	}
	judge(t, script, "sfdisk", "-q", name)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := cutdisk.New(diskSize)
	for s := int64(0); s < int64(len(b)/512); s++ {
		if data := b[s*512 : s*512+512]; !bytes.Equal(data, make([]byte, 512)) {
			d.Sectors[s] = data
		}
	}
	return d
}

func judge(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command("/usr/sbin/"+name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s\nIf it is missing: run make deps", name, args, err, out)
	}
	return string(out)
}

// fsSectors is how many sectors the stand-in for mkfs writes: the superblock first, which is the
// worst order, and a Sync only at the very end.
const fsSectors = 12

func fakeFormat(d *cutdisk.Disk, data *ptable.Entry) error {
	for i := range int64(fsSectors) {
		text := fmt.Sprintf("file system, part %d", i)
		if _, err := d.WriteAt(append([]byte(text), make([]byte, 512-len(text))...), (int64(data.First)+i)*512); err != nil {
			return err
		}
	}
	return d.Sync()
}

func fsWhole(d io.ReaderAt, data *ptable.Entry) bool {
	for i := range int64(fsSectors) {
		b := make([]byte, 512)
		if _, err := d.ReadAt(b, (int64(data.First)+i)*512); err != nil || !bytes.HasPrefix(b, []byte("file system, part")) {
			return false
		}
	}
	return true
}

// bootDisk does what init does with the disk, and reports whether it
// formatted.
func bootDisk(d *cutdisk.Disk) (formatted bool, err error) {
	t, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		return false, err
	}
	want, err := makeRoom(d, t, slotSize, testIDs())
	if err != nil {
		return false, err
	}
	err = makeData(d, want, stateOf(want, want.Entry(contract.PartData)), func() error {
		formatted = true
		return fakeFormat(d, want.Entry(contract.PartData))
	})
	return formatted, err
}

func testIDs() func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("aaaaaaaa-bbbb-4ccc-8ddd-%012d", n) }
}

// settled checks the end of every story: both slots have the same size, one after the other; data
// follows up to the disk's end; both copies of the table are equal and in place; the file system is
// complete.
func settled(d *cutdisk.Disk) error {
	t, err := ptable.Read(d, d.Size, 512)
	if err != nil {
		return err
	}
	a, b, data := t.Entry(contract.PartRootA), t.Entry(contract.PartRootB), t.Entry(contract.PartData)
	switch {
	case t.Stale:
		return fmt.Errorf("the table is not in its final form")
	case a == nil || b == nil || data == nil:
		return fmt.Errorf("a partition is missing")
	case a.First != 40960 || a.Sectors*512 != slotSize || b.First != a.End() || b.Sectors*512 != slotSize:
		return fmt.Errorf("slots at %d+%d and %d+%d", a.First, a.Sectors, b.First, b.Sectors)
	case data.First != b.End() || t.LastUsable()+1-data.End() > 2*alignment/512:
		return fmt.Errorf("data at %d+%d", data.First, data.Sectors)
	case data.Type != t.Scheme.DataType():
		return fmt.Errorf("data has type %s", data.Type)
	case !fsWhole(d, data):
		return fmt.Errorf("the file system is not whole")
	}
	return nil
}

func everyCut(t *testing.T, base *cutdisk.Disk, log []cutdisk.Write, story func(d *cutdisk.Disk) error) {
	t.Helper()
	if err := cutdisk.EveryCut(base, log, story); err != nil {
		t.Fatal(err)
	}
}

// A power cut at any moment of first boot, and a second one at any moment of
// the boot that follows, leave a disk that the next boot finishes.
func TestPowerCutsDuringFirstBoot(t *testing.T) {
	for _, scheme := range []contract.Scheme{contract.GPT, contract.MBR} {
		t.Run(string(scheme), func(t *testing.T) {
			base := flashed(t, scheme)
			whole := base.Clone(diskSize)
			if formatted, err := bootDisk(whole); err != nil || !formatted {
				t.Fatal(formatted, err)
			}
			judgeDisk(t, whole)
			random := rand.New(rand.NewPCG(3, 4))
			everyCut(t, base, whole.Log, func(d *cutdisk.Disk) error {
				again := d.Clone(diskSize)
				if _, err := bootDisk(again); err != nil {
					return err
				}
				if err := settled(again); err != nil {
					return err
				}
				if len(again.Log) == 0 {
					return nil
				}
				twice := cutdisk.Cut(d, again.Log, random.IntN(len(again.Log)+1), func() bool { return random.IntN(2) == 0 })
				if _, err := bootDisk(twice); err != nil {
					return fmt.Errorf("after a second cut: %w", err)
				}
				return settled(twice)
			})
		})
	}
}

// A node that moved to a larger card grows, is never formatted, and survives
// power cuts meanwhile. A boot without anything to do writes nothing.
func TestPowerCutsWhileGrowing(t *testing.T) {
	for _, scheme := range []contract.Scheme{contract.GPT, contract.MBR} {
		t.Run(string(scheme), func(t *testing.T) {
			used := flashed(t, scheme)
			if _, err := bootDisk(used); err != nil {
				t.Fatal(err)
			}
			idle := used.Clone(diskSize)
			if formatted, err := bootDisk(idle); err != nil || formatted || len(idle.Log) > 0 {
				t.Fatalf("an idle boot: formatted %v, %d writes, %v", formatted, len(idle.Log), err)
			}
			base := used.Clone(diskSize + 200*mib)
			whole := base.Clone(base.Size)
			if formatted, err := bootDisk(whole); err != nil || formatted {
				t.Fatal(formatted, err)
			}
			judgeDisk(t, whole)
			everyCut(t, base, whole.Log, func(d *cutdisk.Disk) error {
				if formatted, err := bootDisk(d); err != nil || formatted {
					return fmt.Errorf("formatted %v, %w", formatted, err)
				}
				return settled(d)
			})
		})
	}
}

// Whatever state a damaged table is in, a disk whose data is known to be
// formatted is not formatted again.
func TestNeverFormatsTwice(t *testing.T) {
	for _, scheme := range []contract.Scheme{contract.GPT, contract.MBR} {
		used := flashed(t, scheme)
		if _, err := bootDisk(used); err != nil {
			t.Fatal(err)
		}
		for sector := range used.Sectors {
			d := used.Clone(diskSize)
			delete(d.Sectors, sector) // unreadable, or overwritten by somebody
			if formatted, _ := bootDisk(d); formatted {
				t.Errorf("%s: formatted after sector %d was lost", scheme, sector)
			}
		}
	}
}

// judgeDisk lets sgdisk or sfdisk look at the disk.
func judgeDisk(t *testing.T, d *cutdisk.Disk) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(d.Size); err != nil {
		t.Fatal(err)
	}
	for s, data := range d.Sectors {
		if _, err := f.WriteAt(data, s*512); err != nil {
			t.Fatal(err)
		}
	}
	if out := judge(t, "", "sfdisk", "-V", name); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
	if table, err := ptable.Read(d, d.Size, 512); err != nil || table.Scheme == contract.MBR {
		return
	}
	if out := judge(t, "", "sgdisk", "-v", name); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
}

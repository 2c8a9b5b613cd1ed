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
	"github.com/going-mobile/imagebuilder/firstboot/initramfs/ptable"
)

const (
	mib      = 1 << 20
	slotSize = 16 * mib
	diskSize = 640 * mib
)

// sparse is a disk in memory that remembers what was written since it was
// switched on, sector by sector, and where it was asked to be durable.
type sparse struct {
	size    int64
	sectors map[int64][]byte
	log     []write
}

// write is a sector, or a Sync where data is nil.
type write struct {
	sector int64
	data   []byte
}

func newSparse(size int64) *sparse { return &sparse{size: size, sectors: map[int64][]byte{}} }

func (d *sparse) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = 0
	}
	for s := off / 512; s*512 < off+int64(len(p)); s++ {
		if data, ok := d.sectors[s]; ok {
			from, to := max(off, s*512), min(off+int64(len(p)), s*512+512)
			copy(p[from-off:to-off], data[from-s*512:])
		}
	}
	return len(p), nil
}

func (d *sparse) WriteAt(p []byte, off int64) (int, error) {
	if off%512 != 0 || len(p)%512 != 0 || off+int64(len(p)) > d.size {
		return 0, fmt.Errorf("write of %d bytes at %d", len(p), off)
	}
	for i := 0; i < len(p); i += 512 {
		w := write{off/512 + int64(i)/512, bytes.Clone(p[i : i+512])}
		d.sectors[w.sector] = w.data
		d.log = append(d.log, w)
	}
	return len(p), nil
}

func (d *sparse) Sync() error {
	d.log = append(d.log, write{})
	return nil
}

// clone returns the disk as it was when it was switched on.
func (d *sparse) clone(size int64) *sparse {
	c := newSparse(size)
	for s, data := range d.sectors {
		c.sectors[s] = data
	}
	return c
}

// cut returns the disk base after the power went away behind the n-th write
// of log. What was synced is there; of what was not, keep decides.
func cut(base *sparse, log []write, n int, keep func() bool) *sparse {
	d := base.clone(base.size)
	durable := 0
	for i, w := range log[:n] {
		if w.data == nil {
			durable = i
		}
	}
	for i, w := range log[:n] {
		if w.data != nil && (i < durable || keep()) {
			d.sectors[w.sector] = w.data
		}
	}
	return d
}

// flashed is the disk after an image made by the tools was written to it.
func flashed(t *testing.T, scheme contract.Scheme) *sparse {
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
	d := newSparse(diskSize)
	for s := int64(0); s < int64(len(b)/512); s++ {
		if data := b[s*512 : s*512+512]; !bytes.Equal(data, make([]byte, 512)) {
			d.sectors[s] = data
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

// fsSectors is what the stand-in of mkfs writes: the superblock first, which
// is the worst order, and the rest with a Sync only at the very end.
const fsSectors = 12

func fakeFormat(d *sparse, data *ptable.Entry) error {
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
func bootDisk(d *sparse) (formatted bool, err error) {
	t, err := ptable.Read(d, d.size, 512)
	if err != nil {
		return false, err
	}
	want, state, err := makeRoom(d, t, slotSize, testIDs())
	if err != nil {
		return false, err
	}
	err = makeData(d, want, state, func() error {
		formatted = true
		return fakeFormat(d, want.Entry(contract.PartData))
	})
	return formatted, err
}

func testIDs() func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("aaaaaaaa-bbbb-4ccc-8ddd-%012d", n) }
}

// settled checks the end of every story: the layout of DESIGN §5, both copies
// of the table equal and in place, a whole file system.
func settled(d *sparse) error {
	t, err := ptable.Read(d, d.size, 512)
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

// everyCut calls story with the disk after a power cut behind every write of
// log: with everything since the last Sync written, with nothing of it, and
// with random parts of it.
func everyCut(t *testing.T, base *sparse, log []write, story func(d *sparse) error) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for n := range len(log) + 1 {
		keeps := []func() bool{func() bool { return true }, func() bool { return false }}
		for range 4 {
			keeps = append(keeps, func() bool { return random.IntN(2) == 0 })
		}
		for k, keep := range keeps {
			if err := story(cut(base, log, n, keep)); err != nil {
				t.Fatalf("power cut after write %d of %d, variant %d: %v", n, len(log), k, err)
			}
		}
	}
}

// A power cut at any moment of first boot, and a second one at any moment of
// the boot that follows, leave a disk that the next boot finishes.
func TestPowerCutsDuringFirstBoot(t *testing.T) {
	for _, scheme := range []contract.Scheme{contract.GPT, contract.MBR} {
		t.Run(string(scheme), func(t *testing.T) {
			base := flashed(t, scheme)
			whole := base.clone(diskSize)
			if formatted, err := bootDisk(whole); err != nil || !formatted {
				t.Fatal(formatted, err)
			}
			judgeDisk(t, whole)
			random := rand.New(rand.NewPCG(3, 4))
			everyCut(t, base, whole.log, func(d *sparse) error {
				again := d.clone(diskSize)
				if _, err := bootDisk(again); err != nil {
					return err
				}
				if err := settled(again); err != nil {
					return err
				}
				if len(again.log) == 0 {
					return nil
				}
				twice := cut(d, again.log, random.IntN(len(again.log)+1), func() bool { return random.IntN(2) == 0 })
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
			idle := used.clone(diskSize)
			if formatted, err := bootDisk(idle); err != nil || formatted || len(idle.log) > 0 {
				t.Fatalf("an idle boot: formatted %v, %d writes, %v", formatted, len(idle.log), err)
			}
			base := used.clone(diskSize + 200*mib)
			whole := base.clone(base.size)
			if formatted, err := bootDisk(whole); err != nil || formatted {
				t.Fatal(formatted, err)
			}
			judgeDisk(t, whole)
			everyCut(t, base, whole.log, func(d *sparse) error {
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
		for sector := range used.sectors {
			d := used.clone(diskSize)
			delete(d.sectors, sector) // unreadable, or overwritten by somebody
			if formatted, _ := bootDisk(d); formatted {
				t.Errorf("%s: formatted after sector %d was lost", scheme, sector)
			}
		}
	}
}

// judgeDisk lets sgdisk or sfdisk look at the disk.
func judgeDisk(t *testing.T, d *sparse) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(d.size); err != nil {
		t.Fatal(err)
	}
	for s, data := range d.sectors {
		if _, err := f.WriteAt(data, s*512); err != nil {
			t.Fatal(err)
		}
	}
	if out := judge(t, "", "sfdisk", "-V", name); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
	if table, err := ptable.Read(d, d.size, 512); err != nil || table.Scheme == contract.MBR {
		return
	}
	if out := judge(t, "", "sgdisk", "-v", name); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
}

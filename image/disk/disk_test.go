package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

func mustTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func piLayout(t testing.TB) Layout {
	l, err := Arrange(Layout{Scheme: contract.MBR, ID: "1234abcd", Partitions: []Partition{
		{Size: 64 * mib, Type: contract.TypeFAT32, Active: true},
		{Size: 9*mib + 4096, Type: contract.TypeLinux},
	}}, AlignCard)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func uefiLayout(t testing.TB) Layout {
	l, err := Arrange(Layout{Scheme: contract.GPT, ID: GUID("test", "disk"), Partitions: []Partition{
		{Size: 64 * mib, Type: contract.TypeESP, Name: "esp", UUID: GUID("test", "esp")},
		{Size: 9*mib + 4096, Type: contract.TypeRootAMD64, Name: "root-a", UUID: GUID("test", "root-a"), Attributes: 1 << 60},
		{Number: 4, Size: mib, Type: contract.TypeVar, Name: "Größe 😀", UUID: GUID("test", "data")},
	}}, Align)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write makes an image file that held something else before.
func write(t testing.TB, l Layout) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(name, bytes.Repeat([]byte{0xa5}, 4*mib), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(l.Size); err != nil {
		t.Fatal(err)
	}
	if err := Write(f, l); err != nil {
		t.Fatal(err)
	}
	return name
}

func readBack(t testing.TB, name string) (Layout, error) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return Read(f, fi.Size())
}

func TestArrange(t *testing.T) {
	l := piLayout(t)
	want := []Partition{
		{Number: 1, Start: 4 * mib, Size: 64 * mib, Type: "0c", UUID: "1234abcd-01", Active: true},
		{Number: 2, Start: 68 * mib, Size: 12 * mib, Type: "83", UUID: "1234abcd-02"},
	}
	if d := cmp.Diff(want, l.Partitions); d != "" || l.Size != 80*mib {
		t.Errorf("size %d: %s", l.Size, d)
	}
	if l := uefiLayout(t); l.Size != (1+64+10+1+1)*mib || l.Partition("root-a").Start != 65*mib {
		t.Errorf("%+v", l)
	}
}

func TestMBRIsClean(t *testing.T) {
	name := write(t, piLayout(t))
	if out := mustTool(t, "sfdisk", "-V", name); !strings.Contains(out, "No errors detected.") {
		t.Error(out)
	}
	for _, want := range []string{"Disk identifier: 0x1234abcd", "8192 139263  131072  64M  c W95 FAT32 (LBA)", "139264 163839   24576  12M 83 Linux"} {
		if out := mustTool(t, "fdisk", "-l", name); !strings.Contains(out, want) {
			t.Errorf("fdisk lacks %q:\n%s", want, out)
		}
	}
	out := mustTool(t, "fdisk", "-x", "-l", name)
	if strings.Contains(out, "doesn't") || strings.Contains(out, "does not") {
		t.Errorf("fdisk: %s", out)
	}
	if got, err := readBack(t, name); err != nil || !cmp.Equal(got, piLayout(t)) {
		t.Errorf("%v %s", err, cmp.Diff(got, piLayout(t)))
	}
}

// TestMBRIsWhatSfdiskWrites compares with another writer, CHS included.
func TestMBRIsWhatSfdiskWrites(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ref.img")
	ref, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer ref.Close()
	ref.Truncate(20 << 30)
	l := Layout{Scheme: contract.MBR, ID: "deadbeef", Size: 20 << 30, Partitions: []Partition{
		{Number: 1, Start: 4 * mib, Size: 256 * mib, Type: "0c", Active: true},
		{Number: 3, Start: 260 * mib, Size: 8 << 30, Type: "83"},
	}}
	cmd := exec.Command("sfdisk", "-q", name)
	cmd.Stdin = strings.NewReader("label: dos\nlabel-id: 0xdeadbeef\n1: start=8192,size=524288,type=c,bootable\n3: start=532480,size=16777216,type=83\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, want := make(sectorWriter, 512), make([]byte, 512)
	if err := Write(got, l); err != nil {
		t.Fatal(err)
	}
	if _, err := ref.ReadAt(want, 0); err != nil || !bytes.Equal(got[440:], want[440:]) {
		t.Errorf("%v\n%x\n%x", err, got[440:], want[440:])
	}
}

// TestAPartitionMayLieInTheGap: one that has its place keeps it, and the others
// lie where they lay without it.
func TestAPartitionMayLieInTheGap(t *testing.T) {
	draft := uefiLayout(t)
	for i := range draft.Partitions {
		draft.Partitions[i].Start = 0
	}
	without, err := Arrange(draft, AlignCard)
	if err != nil {
		t.Fatal(err)
	}
	gap := Partition{Number: 14, Start: mib, Size: mib, Type: contract.TypeBIOS, Name: "bios", UUID: GUID("test", "bios")}
	draft.Partitions = append(draft.Partitions, gap)
	with, err := Arrange(draft, AlignCard)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(append(without.Partitions, gap), with.Partitions); d != "" || with.Size != without.Size {
		t.Errorf("size %d, not %d: %s", with.Size, without.Size, d)
	}
	name := write(t, with)
	if out := mustTool(t, "sgdisk", "-v", name); !strings.Contains(out, "No problems found.") {
		t.Error(out)
	}
	if out := mustTool(t, "fdisk", "-l", name); !strings.Contains(out, "BIOS boot") {
		t.Errorf("fdisk: %s", out)
	}
	draft.Partitions[3].Size = 4 * mib
	if _, err := Arrange(draft, AlignCard); err == nil || !strings.Contains(err.Error(), "partitions 14 and 1 overlap") {
		t.Errorf("a gap too small: %v", err)
	}
}

func TestGPTIsClean(t *testing.T) {
	name := write(t, uefiLayout(t))
	if out := mustTool(t, "sgdisk", "-v", name); !strings.Contains(out, "No problems found.") || strings.Contains(out, "aution") || strings.Contains(out, "arning") {
		t.Error(out)
	}
	if out := mustTool(t, "sfdisk", "-V", name); !strings.Contains(out, "No errors detected.") {
		t.Error(out)
	}
	out := mustTool(t, "sfdisk", "-d", name)
	for _, want := range []string{
		"label-id: " + strings.ToUpper(GUID("test", "disk")),
		`size=       20480, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=` + strings.ToUpper(GUID("test", "root-a")) + `, name="root-a", attrs="GUID:60"`,
		`img4 : start=      153600`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("sfdisk lacks %q:\n%s", want, out)
		}
	}
	if out := mustTool(t, "fdisk", "-l", name); !strings.Contains(out, "Linux root (x86-64)") || strings.Contains(out, "PMBR") {
		t.Errorf("fdisk: %s", out)
	}
	if got, err := readBack(t, name); err != nil || !cmp.Equal(got, uefiLayout(t)) {
		t.Errorf("%v %s", err, cmp.Diff(got, uefiLayout(t)))
	}
}

func TestDamagedGPT(t *testing.T) {
	name := write(t, uefiLayout(t))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt([]byte("garbage"), SectorSize)
	got, err := readBack(t, name)
	if err != nil || !got.Recovered || len(got.Partitions) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	f.WriteAt([]byte("garbage"), uefiLayout(t).Size-SectorSize)
	if got, err := readBack(t, name); err == nil {
		t.Errorf("both copies damaged: %+v", got)
	}
}

func TestNoTable(t *testing.T) {
	fat := make([]byte, 4096)
	fat[446], fat[510], fat[511] = 0x33, 0x55, 0xaa
	short := make([]byte, 4096)
	short[510], short[511] = 0x55, 0xaa
	copy(short[82:], "FAT32   ")
	for name, b := range map[string][]byte{"FAT32 without boot code": short, "blank": make([]byte, 4096), "file system": fat, "tiny": nil} {
		if _, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNoTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(l *Layout)
		want string
	}{
		{"overlap", func(l *Layout) { l.Partitions[1].Start = l.Partitions[0].Start + mib }, "partitions 1 and 2 overlap"},
		{"off the disk", func(l *Layout) { l.Partitions[2].Size = 2 * mib }, "partition 4: 2097152 bytes at 78643200 are not between"},
		{"in the table", func(l *Layout) { l.Partitions[0].Start = 512 }, "are not between 17408 and"},
		{"half a sector", func(l *Layout) { l.Partitions[0].Size++ }, "not whole sectors"},
		{"no GUID", func(l *Layout) { l.ID = "" }, `disk GUID ""`},
		{"upper case", func(l *Layout) { l.Partitions[0].UUID = strings.ToUpper(l.Partitions[0].UUID) }, "not one in lower case"},
		{"no type", func(l *Layout) { l.Partitions[0].Type = "83" }, `type "83" is not a GUID`},
		{"twice", func(l *Layout) { l.Partitions[0].UUID = l.Partitions[1].UUID }, "used twice"},
		{"number", func(l *Layout) { l.Partitions[0].Number = 129 }, "from 1 to 128"},
		{"name", func(l *Layout) { l.Partitions[0].Name = strings.Repeat("😀", 36) }, "longer than 36"},
		{"scheme", func(l *Layout) { l.Scheme = "bsd" }, `unknown scheme "bsd"`},
		{"MBR name", func(l *Layout) { *l = piLayout(t); l.Partitions[0].Name = "boot" }, "an MBR has no names"},
		{"MBR five", func(l *Layout) { *l = piLayout(t); l.Partitions[0].Number = 5 }, "from 1 to 4"},
		{"MBR signature", func(l *Layout) { *l = piLayout(t); l.ID = "0x123456" }, "disk signature"},
	}
	for _, tt := range tests {
		l := uefiLayout(t)
		tt.edit(&l)
		if err := Write(make(sectorWriter, 0), l); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestWindow(t *testing.T) {
	name := write(t, piLayout(t))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := piLayout(t).Partitions[1].Window(f)
	if _, err := w.WriteAt([]byte("end"), w.Size()-3); err != nil {
		t.Error(err)
	}
	for _, off := range []int64{-1, w.Size() - 2, w.Size() + 1, 1<<63 - 1} {
		if _, err := w.WriteAt([]byte("end"), off); err == nil {
			t.Errorf("write at %d went through", off)
		}
	}
	b := make([]byte, 3)
	if _, err := f.ReadAt(b, 80*mib-3); err != nil || string(b) != "end" {
		t.Errorf("%q %v", b, err)
	}
}

func TestIdentifiers(t *testing.T) {
	id, again := GUID("x"), GUID("x")
	if GUID("ab", "c") == GUID("a", "bc") || id != again || !guidPattern.MatchString(id) || id[14] != '8' {
		t.Error(GUID("ab", "c"), GUID("a", "bc"), id, again)
	}
	if !signaturePattern.MatchString(Signature("x")) || Signature("x") != fmt.Sprintf("%08x", VolumeID("x")) {
		t.Error(Signature("x"))
	}
}

// FuzzRead patches headers and entries and then mends the header's checksum,
// behind which the dangerous numbers are.
func FuzzRead(f *testing.F) {
	f.Add(uint8(0), uint16(80), []byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(uint8(1), uint16(72), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add(uint8(2), uint16(512+32), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint8(3), uint16(446), []byte{0x80, 0, 0, 0, 0x0c, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, kind uint8, at uint16, patch []byte) {
		img := tinyDisk(t, kind&2 != 0 && kind&1 != 0)
		if copy(img[SectorSize+int(at)%4096:], patch); kind&1 == 0 {
			copy(img[at%SectorSize:], patch)
		}
		if kind&4 != 0 {
			clear(img[SectorSize : SectorSize+8])
		}
		for _, off := range []int{SectorSize, len(img) - SectorSize} {
			h := img[off : off+92]
			if kind&8 != 0 {
				le.PutUint32(h[88:], crc32.ChecksumIEEE(img[2*SectorSize:][:128*128]))
			}
			clear(h[16:20])
			le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		}
		l, err := Read(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			return
		}
		for _, p := range l.Partitions {
			if p.Start < 0 || p.End() > l.Size || p.Size <= 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}

// tinyDisk is a disk of 2 MiB with one partition.
func tinyDisk(t testing.TB, useMBR bool) []byte {
	l := Layout{Scheme: contract.GPT, ID: GUID("x"), Size: 2 * mib, Partitions: []Partition{{Number: 1, Start: mib, Size: mib / 2, Type: contract.TypeVar, UUID: GUID("y")}}}
	if useMBR {
		l.Scheme, l.ID, l.Partitions[0].Type = contract.MBR, "12345678", "83"
	}
	img := make(sectorWriter, l.Size)
	if err := Write(img, l); err != nil {
		t.Fatal(err)
	}
	return img
}

// TestWholeTables damages each part of a GPT that somebody may rely on later.
func TestWholeTables(t *testing.T) {
	l := uefiLayout(t)
	raw := make(memory, l.Size)
	if err := Write(raw, l); err != nil {
		t.Fatal(err)
	}
	last := int(l.Size - SectorSize)
	other := l
	other.ID = GUID("another disk")
	stranger := make(memory, l.Size)
	if err := Write(stranger, other); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		edit       func(b memory) memory
	}{
		{"whole", "", func(b memory) memory { return b }},
		{"first header", "at the start is damaged", func(b memory) memory { b[SectorSize+60] ^= 1; return b }},
		{"first entries", "at the start is damaged: the checksum of its entries", func(b memory) memory { b[2*SectorSize] ^= 1; return b }},
		{"last header", "at the end is missing or damaged", func(b memory) memory { b[last+60] ^= 1; return b }},
		{"last entries", "at the end is missing or damaged: the checksum", func(b memory) memory { b[last-32*SectorSize] ^= 1; return b }},
		{"cut short", "at the end is missing or damaged", func(b memory) memory { return b[:len(b)-SectorSize] }},
		{"another's end", "differ", func(b memory) memory { copy(b[last:], stranger[last:]); return b }},
	} {
		b := tt.edit(bytes.Clone(raw))
		got, err := Read(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			err = got.Whole(bytes.NewReader(b))
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// memory is a disk.
type memory []byte

func (m memory) WriteAt(b []byte, off int64) (int, error) { return copy(m[off:], b), nil }

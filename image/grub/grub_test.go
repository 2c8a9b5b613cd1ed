package grub

import (
	"bytes"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"
)

// debian reads the files of the host's own grub-pc-bin.
func debian(name string) ([]byte, error) { return os.ReadFile("/" + Dir + name) }

// changed has one file of its own.
func changed(name string, change func([]byte) []byte) Files {
	return func(n string) ([]byte, error) {
		b, err := debian(n)
		if n == name && err == nil {
			b = change(b)
		}
		return b, err
	}
}

func loader(t *testing.T) *Loader {
	t.Helper()
	l, err := New(debian, Modules, 1, "/grub")
	if err != nil {
		t.Fatalf("%v (is grub-pc-bin installed? run `make deps`)", err)
	}
	return l
}

// core is a core.img, taken apart.
type core struct {
	sectors                int // that diskboot.img loads
	decompressor, unpacked []byte
}

func parse(t *testing.T, b []byte) core {
	t.Helper()
	plain, err := debian("lzma_decompress.img")
	if err != nil {
		t.Fatal(err)
	}
	c := core{sectors: int(le.Uint16(b[sector-4:])), decompressor: bytes.Clone(b[sector : sector+len(plain)])}
	packed, size := le.Uint32(c.decompressor[compressedSize:]), le.Uint32(c.decompressor[uncompressedSize:])
	header := append([]byte{(2*5+0)*9 + 3, 0, 0, 1, 0}, le.AppendUint64(nil, uint64(size))...)
	r, err := lzma.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(b[sector+len(plain):][:packed])))
	if err != nil {
		t.Fatal(err)
	}
	if c.unpacked, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	le.PutUint32(c.decompressor[compressedSize:], 0) // compressors differ
	return c
}

// TestCoreIsWhatGrubMkimageMakes: the same, but for how well it is compressed.
func TestCoreIsWhatGrubMkimageMakes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "core.img")
	args := append([]string{"-d", "/" + Dir, "-O", "i386-pc", "-p", "(,gpt1)/grub", "-o", name}, Modules...)
	if out, err := exec.Command("grub-mkimage", args...).CombinedOutput(); err != nil {
		t.Fatalf("grub-mkimage: %v (is it installed? run `make deps`)\n%s", err, out)
	}
	theirs, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	l := loader(t)
	want, got := parse(t, theirs), parse(t, l.core)
	if !bytes.Equal(got.unpacked, want.unpacked) {
		t.Errorf("kernel and modules: %d bytes, not the %d of grub-mkimage", len(got.unpacked), len(want.unpacked))
	}
	if !bytes.Equal(got.decompressor, want.decompressor) {
		t.Error("the decompressor is not that of grub-mkimage")
	}
	if (got.sectors+1)*sector != len(l.core) || l.Size() > 1<<18 {
		t.Errorf("diskboot.img loads %d sectors of %d bytes", got.sectors, len(l.core))
	}
	if other := loader(t); !bytes.Equal(other.core, l.core) {
		t.Error("equal input makes another loader")
	}
}

// disk is one in memory.
type disk []byte

func (d disk) WriteAt(b []byte, off int64) (int, error) { return copy(d[off:], b), nil }

func TestInstall(t *testing.T) {
	l, d := loader(t), make(disk, 2<<20)
	for i := range d {
		d[i] = 0xa5
	}
	if err := l.Install(d, 1<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	if at := le.Uint64(d[bootSector:]); at != 2048 || d[bootDriveCheck] != 0x90 || d[0] != 0xeb {
		t.Errorf("the first sector loads sector %d", at)
	}
	if rest := d[bootCode : 1<<20]; !bytes.Equal(rest, bytes.Repeat([]byte{0xa5}, len(rest))) {
		t.Error("what is no boot code was written over: the partition table is there")
	}
	first := d[1<<20:]
	if at, n, segment := le.Uint64(first[500:]), le.Uint16(first[508:]), le.Uint16(first[510:]); at != 2049 || int(n+1)*sector != len(l.core) || segment != 0x820 {
		t.Errorf("diskboot.img loads %d sectors from %d to segment %x", n, at, segment)
	}
	if !bytes.Equal(first[sector:l.Size()], l.core[sector:]) || first[l.Size()] != 0xa5 {
		t.Error("the rest is not where diskboot.img looks, or longer than it is")
	}
	for _, at := range [][2]int64{{1 << 20, 1 << 17}, {1<<20 + 1, 1 << 20}} {
		if err := l.Install(d, at[0], at[1]); err == nil {
			t.Errorf("installed into %d bytes at %d", at[1], at[0])
		}
	}
}

// TestUnknownFilesAreRefused: a number in the wrong place would make a disk that
// does not start.
func TestUnknownFilesAreRefused(t *testing.T) {
	flip := func(at int) func([]byte) []byte { return func(b []byte) []byte { b[at] ^= 1; return b } }
	for want, files := range map[string]Files{
		"boot.img: has 511 bytes":                changed("boot.img", func(b []byte) []byte { return b[:511] }),
		"boot.img: its fields are not":           changed("boot.img", flip(bootSector)),
		"diskboot.img: its list of blocks":       changed("diskboot.img", flip(sector-1)),
		"lzma_decompress.img: its fields":        changed("lzma_decompress.img", flip(compressedSize)),
		"kernel.img: is no kernel of GRUB":       changed("kernel.img", flip(0x18)),
		"kernel.img: its section .rodata is out": changed("kernel.img", misplaced),
		"kernel.img: bad magic number":           changed("kernel.img", func(b []byte) []byte { return b[1:] }),
		"knows no module fat":                    changed("moddep.lst", func([]byte) []byte { return []byte("biosdisk:\npart_gpt:\n") }),
		"knows no module a":                      changed("moddep.lst", func([]byte) []byte { return []byte("biosdisk: a\na: biosdisk a\n") }),
		"more than a BIOS has room for":          changed("fat.mod", func([]byte) []byte { return noise(600 << 10) }),
		"fat.mod: no such file":                  func(n string) ([]byte, error) { return debian(strings.Replace(n, "fat.mod", "no/fat.mod", 1)) },
	} {
		if _, err := New(files, Modules, 1, "/grub"); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "GRUB for BIOS: ") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// misplaced moves a kernel's second section far away.
func misplaced(b []byte) []byte {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	const addr, entry = 12, 40 // of a section header
	le.PutUint32(b[int(le.Uint32(b[32:]))+2*entry+addr:], uint32(f.Sections[2].Addr)+2<<20)
	return b
}

// noise cannot be compressed.
func noise(n int) []byte {
	b, x := make([]byte, n), uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

package fat

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// tiny is a volume of 128 KiB: too small for other readers to call FAT32, but
// all the structures are there for the reader to trip over.
func tiny(t testing.TB) memory {
	tr := tree.New()
	add(t, tr, "config.txt", noise(700, 1))
	add(t, tr, "a long name that needs two entries.txt", noise(5, 2))
	add(t, tr, "EFI/Linux/image.efi", noise(5000, 3))
	add(t, tr, "node.yaml", bytes.Repeat([]byte("#"), 3000))
	add(t, tr, "empty", nil)
	g := layout(256, 1)
	m := memory(make([]byte, 256*sectorSize))
	w := &writer{w: m, g: g, opt: Options{Label: "TINY", ModTime: testTime}, label: "TINY       "}
	if err := w.arrange(tr); err != nil {
		t.Fatal(err)
	}
	if err := w.write(); err != nil {
		t.Fatal(err)
	}
	return m
}

func mustOpen(t testing.TB, m memory) *FS {
	t.Helper()
	f, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// link makes cluster from lead to cluster to.
func (m memory) link(t testing.TB, from, to uint32) {
	le.PutUint32(m[mustOpen(t, m).g.fatStart(0)+int64(from)*4:], to)
}

func (m memory) cluster(t testing.TB, path string) uint32 {
	e, err := mustOpen(t, m).lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	return e.first
}

func (m memory) dirEntry(t testing.TB, path string) []byte {
	e, err := mustOpen(t, m).lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	return m[e.offset : e.offset+dirEntrySize]
}

func TestDamageIsFound(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, m memory)
		want   string
	}{
		{"circle", func(t *testing.T, m memory) {
			c := m.cluster(t, "EFI/Linux/image.efi")
			m.link(t, c+2, c)
		}, "/EFI/Linux/image.efi: cluster chain from"},
		{"chain leaves the volume", func(t *testing.T, m memory) {
			m.link(t, m.cluster(t, "config.txt"), 99999)
		}, "/config.txt: cluster chain from 16 leads to cluster 99999 of"},
		{"chain into a free cluster", func(t *testing.T, m memory) {
			m.link(t, m.cluster(t, "config.txt"), 0)
		}, "leads to cluster 0"},
		{"chain too short", func(t *testing.T, m memory) {
			m.link(t, m.cluster(t, "config.txt"), endOfChain)
		}, "/config.txt: its 700 bytes have clusters for 512 only"},
		{"directory in itself", func(t *testing.T, m memory) {
			le.PutUint16(m.dirEntry(t, "EFI/Linux")[26:], uint16(m.cluster(t, "EFI")))
		}, "/EFI/Linux: is the same directory as /EFI"},
		{"directory in a circle", func(t *testing.T, m memory) {
			c := m.cluster(t, "EFI")
			m.link(t, c, c)
		}, "/EFI: cluster chain from"},
		{"file beyond the volume", func(t *testing.T, m memory) {
			le.PutUint32(m.dirEntry(t, "config.txt")[28:], 1<<31)
		}, "claim more than the whole volume"},
		{"same name twice", func(t *testing.T, m memory) {
			copy(m.dirEntry(t, "empty"), "CONFIG  TXT")
			m[bytes.LastIndex(m, []byte("CONFIG  TXT"))+12] = lowerBase | lowerExt
		}, "/config.txt: two entries of this name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := tiny(t)
			tt.damage(t, m)
			_, err := mustOpen(t, m).Tree()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestNotFAT32(t *testing.T) {
	for name, edit := range map[string]func(m memory){
		"zero":        func(m memory) { clear(m) },
		"FAT16":       func(m memory) { le.PutUint16(m[22:], 100) },
		"sector size": func(m memory) { le.PutUint16(m[11:], 513) },
		"no cluster":  func(m memory) { m[13] = 0 },
		"ten FATs":    func(m memory) { m[16] = 10 },
		"no data":     func(m memory) { le.PutUint32(m[32:], 4) },
	} {
		m := tiny(t)
		edit(m)
		if _, err := Open(m); !errors.Is(err, ErrNotFAT32) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(memory("short")); err == nil || errors.Is(err, ErrNotFAT32) {
		t.Errorf("truncated: %v", err)
	}
}

func TestLocate(t *testing.T) {
	f := mustOpen(t, tiny(t))
	for _, p := range []string{"config.txt", "CONFIG.TXT", "efi/LINUX/Image.EFI", "ALONGN~1.TXT", "A long NAME that needs two entries.txt"} {
		if _, _, err := f.Locate(p); err != nil {
			t.Error(err)
		}
	}
	for _, p := range []string{"gone", "config.txt/x", "EFI/gone/x"} {
		if _, _, err := f.Locate(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"EFI", ".", "../x", ""} {
		if _, _, err := f.Locate(p); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// recording counts what is written, and where.
type recording struct {
	memory
	writes []Extent
}

func (r *recording) WriteAt(p []byte, off int64) (int, error) {
	r.writes = append(r.writes, Extent{off, int64(len(p))})
	return r.memory.WriteAt(p, off)
}

func TestOverwrite(t *testing.T) {
	m := tiny(t)
	before := bytes.Clone(m)
	r := &recording{memory: m}
	if err := Overwrite(r, "node.yaml", []byte("version: 1\n")); err != nil {
		t.Fatal(err)
	}
	ext, _, err := mustOpen(t, m).Locate("node.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := mustOpen(t, m).ReadFile("node.yaml", 3000)
	want, _ := pad([]byte("version: 1\n"), 3000)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	copy(before[ext[0].Offset:], want)
	if !bytes.Equal(before, m) {
		t.Error("something else changed")
	}
	for _, w := range r.writes {
		if w.Offset%sectorSize != 0 || w.Length%sectorSize != 0 {
			t.Errorf("write of %d at %d is not of whole sectors", w.Length, w.Offset)
		}
	}
	r.writes = nil
	if err := Overwrite(r, "NODE.YAML", []byte("version: 2\n")); err != nil || len(r.writes) != 1 || r.writes[0].Length != sectorSize {
		t.Errorf("changing one byte wrote %v, %v", r.writes, err)
	}
}

func TestOverwriteRefusesTooMuch(t *testing.T) {
	m := tiny(t)
	before := bytes.Clone(m)
	secret := strings.Repeat("secret", 600)
	err := Overwrite(m, "node.yaml", []byte(secret))
	if err == nil || !strings.Contains(err.Error(), "node.yaml: 3600 bytes do not fit into the 3000 reserved") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	if !bytes.Equal(before, m) {
		t.Error("the volume changed")
	}
}

// TestOverwriteFragmented moves a cluster away, as a defragmenter would.
func TestOverwriteFragmented(t *testing.T) {
	m := tiny(t)
	c := m.cluster(t, "node.yaml")
	m.link(t, c+1, 100)
	m.link(t, 100, c+3)
	m.link(t, c+2, 0)
	data := noise(3000, 5)
	if err := Overwrite(m, "node.yaml", data); err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, m)
	if ext, _, err := f.Locate("node.yaml"); err != nil || len(ext) != 3 {
		t.Errorf("%v, %v", ext, err)
	}
	if got, err := f.ReadFile("node.yaml", 3000); err != nil || !bytes.Equal(got, data) {
		t.Error("read back differs", err)
	}
	if _, err := f.ReadFile("node.yaml", 2999); err == nil {
		t.Error("limit ignored")
	}
}

func TestOverwriteIsWhatMtoolsReads(t *testing.T) {
	name := image(t, bootTree(t), options(64<<20))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Overwrite(f, "node.yaml", []byte("version: 1\nnode: home-pi\n")); err != nil {
		t.Fatal(err)
	}
	out := mustTool(t, "mtype", "-i", name, "::node.yaml")
	if len(out) != 32<<10 || strings.TrimRight(out, "\n") != "version: 1\nnode: home-pi" {
		t.Errorf("%d bytes: %.60q", len(out), out)
	}
	fsck(t, name)
}

// FuzzRead looks for panics, endless loops and memory without bound. It
// patches a good volume, as mutating 128 KiB at large finds nothing.
func FuzzRead(f *testing.F) {
	base := tiny(f)
	fat, root := uint32(mustOpen(f, base).g.fatStart(0)), uint32(mustOpen(f, base).g.offset(2))
	f.Add(uint32(11), []byte{0, 16, 128}, fat+8, []byte{2, 0, 0, 0})
	f.Add(fat, []byte("\xff\xff\xff\x0f\x03\x00\x00\x00"), root, []byte("TINY       \x08"))
	f.Add(root+32, []byte("\x43\xff\x00"), root+26, []byte{3, 0, 0, 0, 0, 1})
	f.Add(uint32(36), []byte{0xff, 0xff, 0xff, 0xff}, uint32(32), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, at2 uint32, patch2 []byte) {
		m := bytes.Clone(base)
		copy(m[at%uint32(len(m)):], patch)
		copy(m[at2%uint32(len(m)):], patch2)
		readAll(m)
	})
}

func readAll(m memory) {
	v, err := Open(m)
	if err != nil {
		return
	}
	if tr, err := v.Tree(); err == nil {
		for n := range tr.Walk() {
			if n.Content != nil {
				n.Content.SHA256()
			}
		}
	}
	v.ReadFile("node.yaml", 1<<20)
	Overwrite(m, "node.yaml", []byte("x"))
}

// FuzzWrite checks that whatever Write accepts, Tree gives back.
func FuzzWrite(f *testing.F) {
	f.Add("config.txt", "Another name.tar.gz", "ümläut", uint16(512))
	f.Add("A~1", "a long name", "ALONGN~1", uint16(0))
	f.Fuzz(func(t *testing.T, a, b, c string, size uint16) {
		tr := tree.New()
		for _, name := range []string{a, b, c} {
			if name == "." || strings.Contains(name, "/") || tr.Add(file(name, tree.Bytes(noise(int(size), 1)))) != nil {
				return
			}
		}
		m := memory(make([]byte, 1024*sectorSize))
		w := &writer{w: m, g: layout(1024, 1), label: noLabel}
		if w.arrange(tr) != nil {
			return
		}
		if err := w.write(); err != nil {
			t.Fatal(err)
		}
		got, err := mustOpen(t, m).Tree()
		if err != nil {
			t.Fatal(err)
		}
		for n := range tr.Walk() {
			if g := got.Get(n.Path); g == nil || g.Size() != n.Size() {
				t.Errorf("%q is lost", n.Path)
			}
		}
	})
}

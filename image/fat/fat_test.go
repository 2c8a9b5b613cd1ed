package fat

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

var testTime = time.Date(2025, 3, 9, 14, 30, 22, 0, time.UTC)

// tool runs an independent judge; a missing one fails the test.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=0", "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLSRC=/dev/null")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := tool(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// noise is content that differs in every cluster.
func noise(n int, seed uint32) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*1664525 + 1013904223
		b[i] = byte(seed >> 24)
	}
	return b
}

func add(t testing.TB, tr *tree.Tree, path string, data []byte) {
	t.Helper()
	dir := filepath.Dir(path)
	if err := tr.MkdirAll(dir, testTime, "test"); err != nil {
		t.Fatal(err)
	}
	n := &tree.Node{Path: path, Mode: 0o644, ModTime: testTime, Content: tree.Bytes(data), Source: "test"}
	if err := tr.Add(n); err != nil {
		t.Fatal(err)
	}
}

// bootTree resembles a Pi's and an ESP's content, with every kind of name.
func bootTree(t testing.TB) *tree.Tree {
	tr := tree.New()
	for i, name := range []string{
		"config.txt", "cmdline.txt", "start4.elf", "bcm2711-rpi-4-b.dtb", "ab.env", "boot.scr",
		"EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi", "EFI/Linux/imagebuilder-a+3.efi",
		"loader/entries.srel", "README", "Readme.first", "UPPER.low", "lower.UP",
		"a b.txt", "many.dots.in.name.tar.gz", "ümläut.txt", "日本語.txt", "😀.txt", ".hidden",
		"+,;=[].txt", "exactly13char", "twentysixcharactersexactly", "deep/er/and/deep/er/file.bin",
		strings.Repeat("x", 251) + ".txt", "thisislong1.txt", "thisislong2.txt", "THISIS~1.TXT",
	} {
		add(t, tr, name, noise(1+i*977, uint32(i)))
	}
	add(t, tr, "empty.txt", nil)
	add(t, tr, "large.bin", noise(3<<20+1, 7))
	add(t, tr, "imagebuilder.json", []byte(`{"board":"rpi4"}`))
	padded, err := pad([]byte("version: 1\n"), 32<<10)
	if err != nil {
		t.Fatal(err)
	}
	add(t, tr, "node.yaml", padded)
	for i := range 300 { // several clusters of directory
		add(t, tr, fmt.Sprintf("overlays/a long overlay name %03d.dtbo", i), noise(100, uint32(i)))
	}
	if err := tr.MkdirAll("emptydir", testTime, "test"); err != nil {
		t.Fatal(err)
	}
	link := &tree.Node{Path: "config.bak", Mode: 0o644, ModTime: testTime, Link: "config.txt", Source: "test"}
	if err := tr.Add(link); err != nil {
		t.Fatal(err)
	}
	return tr
}

func options(size int64) Options {
	return Options{Size: size, Label: "BOOT", VolumeID: 0x1234abcd, ModTime: testTime}
}

// image writes a volume into a sparse file.
func image(t testing.TB, tr *tree.Tree, opt Options) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fat.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(opt.Size); err != nil {
		t.Fatal(err)
	}
	if err := Write(f, tr, opt); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t testing.TB, name string) *FS {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	v, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// quiet matches the output of fsck.fat for a volume without faults, after its description.
var quiet = regexp.MustCompile(`(?s)\A.* sectors total\n(Reclaiming unconnected clusters\.\n|Checking for unused clusters\.\n)Checking free cluster summary\.\n\S+: \d+ files, \d+/\d+ clusters\n\z`)

func fsck(t *testing.T, name string) {
	t.Helper()
	out := mustTool(t, "fsck.fat", "-n", "-v", name)
	if !quiet.MatchString(out) {
		t.Errorf("fsck.fat complains:\n%s", out)
	}
}

// listing is a tree as text, without modes, which FAT has not.
func listing(t *testing.T, tr *tree.Tree) string {
	var b strings.Builder
	for n := range tr.Walk() {
		switch {
		case n.Path == ".":
		case n.Mode.IsDir():
			fmt.Fprintf(&b, "/%s: dir\n", n.Path)
		default:
			data, err := tr.ReadAll(n.Path)
			if err != nil {
				t.Fatal(err)
			}
			c := tree.Bytes(data)
			fmt.Fprintf(&b, "/%s: file %d %s %s\n", n.Path, c.Size(), c.SHA256()[:8], n.ModTime.UTC().Format(time.DateTime))
		}
	}
	return b.String()
}

func TestWriteIsCleanAtEverySize(t *testing.T) {
	tr := bootTree(t)
	sizes := []int64{MinSize, MinSize + 512, 34 << 20, 35<<20 - 512, 48 << 20, 64 << 20, 65 << 20, 66 << 20,
		67<<20 + 512, 128 << 20, 129 << 20, 132 << 20, 133 << 20, 194 << 20, 255 << 20, 256 << 20, 257 << 20, 258 << 20,
		259 << 20, 260 << 20, 261 << 20, 264 << 20, 266 << 20, 512 << 20, 1 << 30, 4 << 30, 8 << 30, 8<<30 + 512, 17 << 30, 33 << 30, 100 << 30}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			name := image(t, tr, options(size))
			fsck(t, name)
			got, err := open(t, name).Tree()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := listing(t, got), listing(t, tr); got != want {
				t.Errorf("read back differs:\n%s\nwant:\n%s", got, want)
			}
			if out := mustTool(t, "file", "-b", name); !strings.Contains(out, "FAT (32 bit)") {
				t.Errorf("file: %s", out)
			}
		})
	}
}

// TestClusterBorder sweeps sizes around each change of cluster size: FAT
// lengths round differently at every one.
func TestClusterBorder(t *testing.T) {
	for mib := int64(33); mib < 600; mib++ {
		for _, d := range []int64{-1024, -512, 0, 512, 2560} {
			size := mib<<20 + d
			if size < MinSize {
				continue
			}
			g, err := plan(options(size))
			if err != nil {
				t.Fatal(err)
			}
			if g.clusters < minClusters {
				t.Fatalf("%d: %d clusters", size, g.clusters)
			}
			if g.fatSectors*128 < g.clusters+2 || (g.fatSectors-2)*128 > g.clusters+2 {
				t.Fatalf("%d: %d FAT sectors for %d clusters", size, g.fatSectors, g.clusters)
			}
			if g.offset(2)%4096 != 0 || g.offset(2)+g.clusters*g.clusterSize() > size {
				t.Fatalf("%d: data from %d, %d clusters of %d", size, g.offset(2), g.clusters, g.clusterSize())
			}
		}
	}
}

func TestMtoolsReadsEverything(t *testing.T) {
	tr := bootTree(t)
	name := image(t, tr, options(64<<20))
	dir := t.TempDir()
	mustTool(t, "mcopy", "-s", "-m", "-n", "-i", name, "::*", dir)
	// mtools knows no characters beyond the 65536 of UCS-2.
	want := strings.Replace(listing(t, tr), "/😀.txt", "/__.txt", 1)
	if got := hostListing(t, dir); sortLines(got) != sortLines(want) {
		t.Errorf("mcopy gives:\n%s\nwant:\n%s", got, want)
	}
	if out := mustTool(t, "mtype", "-i", name, "::imagebuilder.json"); out != `{"board":"rpi4"}` {
		t.Errorf("mtype: %q", out)
	}
	out := mustTool(t, "mdir", "-i", name, "::")
	for _, want := range []string{"Volume in drive : is BOOT", "1234-ABCD", "THISIS~1 TXT", "THISIS~2 TXT", "2025-03-09  14:30"} {
		if !strings.Contains(out, want) {
			t.Errorf("mdir lacks %q:\n%s", want, out)
		}
	}
	if out := mustTool(t, "blkid", "-p", "-o", "export", name); !strings.Contains(out, "UUID=1234-ABCD") || !strings.Contains(out, "LABEL=BOOT") || !strings.Contains(out, "VERSION=FAT32") {
		t.Errorf("blkid: %s", out)
	}
}

func sortLines(s string) string {
	return strings.Join(slices.Sorted(strings.Lines(s)), "")
}

func hostListing(t *testing.T, dir string) string {
	tr := tree.New()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			return tr.MkdirAll(rel, testTime, "host")
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return tr.Add(&tree.Node{Path: rel, Mode: 0o644, ModTime: info.ModTime(), Content: tree.Bytes(data), Source: "host"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return listing(t, tr)
}

// TestMtoolsWritesIntoOurs lets mtools change a volume that Write made, which works only if
// FSInfo, directory ends and free clusters are right.
func TestMtoolsWritesIntoOurs(t *testing.T) {
	name := image(t, bootTree(t), options(64<<20))
	src := filepath.Join(t.TempDir(), "Added by another program.bin")
	want := noise(5<<20, 99)
	if err := os.WriteFile(src, want, 0o644); err != nil {
		t.Fatal(err)
	}
	mustTool(t, "mdel", "-i", name, "::large.bin", "::cmdline.txt")
	mustTool(t, "mcopy", "-i", name, src, "::deep/er")
	mustTool(t, "mmd", "-i", name, "::new")
	fsck(t, name)
	got, err := open(t, name).ReadFile("deep/er/"+filepath.Base(src), 10<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
}

func TestFilesAreContiguous(t *testing.T) {
	tr := bootTree(t)
	v := open(t, image(t, tr, options(64<<20)))
	last := int64(0)
	for n := range tr.Walk() {
		if !n.Mode.IsRegular() || n.Size() == 0 {
			continue
		}
		ext, entry, err := v.Locate(n.Path)
		if err != nil {
			t.Fatal(err)
		}
		if len(ext) != 1 || ext[0].Length != n.Size() || ext[0].Offset < last || entry == 0 {
			t.Errorf("/%s at %v, entry at %d, after %d", n.Path, ext, entry, last)
		}
		last = ext[0].Offset
	}
}

// dirty is a target that is full of an older file system's bytes.
func TestWriteDoesNotRelyOnZeros(t *testing.T) {
	tr, opt := bootTree(t), options(MinSize)
	name := filepath.Join(t.TempDir(), "dirty.img")
	if err := os.WriteFile(name, bytes.Repeat([]byte{0xa5}, int(opt.Size)), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, tr, opt); err != nil {
		t.Fatal(err)
	}
	fsck(t, name)
	got, err := open(t, name).Tree()
	if err != nil || listing(t, got) != listing(t, tr) {
		t.Errorf("read back differs, %v", err)
	}
}

func TestWriteIsReproducibleAndSparse(t *testing.T) {
	a, b := image(t, bootTree(t), options(256<<20)), image(t, bootTree(t), options(256<<20))
	mustTool(t, "cmp", a, b)
	out := mustTool(t, "du", "-k", a)
	var kib int
	fmt.Sscan(out, &kib)
	if kib > 8<<10 {
		t.Errorf("5 MiB of files in 256 MiB take %d KiB on disk", kib)
	}
}

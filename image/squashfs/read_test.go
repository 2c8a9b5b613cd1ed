package squashfs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Random trees come back equal from an image, and as images they are equal.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		want := randomTree(t, r)
		opt := Options{BlockSize: 4096 << r.IntN(4), Level: LevelFast, ModTime: testTime}
		b := image(t, want, opt)
		got := reread(t, b)
		compare(t, fmt.Sprintf("seed %d", seed), want, got)
		if again := image(t, got, opt); !bytes.Equal(b, again) {
			t.Errorf("seed %d: the image of what was read is another", seed)
		}
	}
}

func reread(tb testing.TB, b []byte) *tree.Tree {
	tb.Helper()
	r, err := Open(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	t, err := r.Tree()
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func randomTree(tb testing.TB, r *rand.Rand) *tree.Tree {
	b := build(tb)
	dirs, files := []string{""}, []string(nil)
	for i := range r.IntN(400) {
		p := fmt.Sprintf("%s%c%d", dirs[r.IntN(len(dirs))], 'a'+rune(r.IntN(26)), i)
		switch kind := r.IntN(12); {
		case kind < 3:
			b.dir(p)
			dirs = append(dirs, p+"/")
		case kind == 3 && len(files) > 0:
			b.link(p, files[r.IntN(len(files))])
		case kind == 4:
			b.put(&tree.Node{Path: p, Mode: os.ModeSymlink | 0o777, Link: strings.Repeat("x", 1+r.IntN(4095))})
		case kind == 5:
			b.put(&tree.Node{Path: p, Mode: os.ModeDevice, Dev: tree.Dev{Major: r.Uint32N(4096), Minor: r.Uint32N(1 << 20)}})
		case kind == 6:
			b.put(&tree.Node{Path: p, Mode: 0o600, UID: r.Uint32(), Content: tree.String("x"),
				Xattrs: map[string][]byte{"user.x": noise(r.IntN(300), r.Uint64()), "security.y": []byte("y")}})
		default:
			b.file(p, randomData(r))
			files = append(files, p)
		}
	}
	return canonical(tb, b.t)
}

// canonical makes the first name in order the one that has the content, as a
// tree that was read has it.
func canonical(tb testing.TB, t *tree.Tree) *tree.Tree {
	heirs := map[string]string{}
	out := tree.New()
	for n := range t.Walk() {
		c := n.Clone()
		if n.Mode.IsRegular() {
			origin := target(t, n)
			if first, ok := heirs[origin.Path]; ok {
				c.Link, c.Content = first, nil
			} else {
				heirs[origin.Path] = n.Path
				c.Link, c.Content = "", origin.Content
			}
		}
		if err := out.Put(c); err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

func randomData(r *rand.Rand) []byte {
	n := r.IntN(1 << r.IntN(17))
	switch r.IntN(3) {
	case 0:
		return make([]byte, n)
	case 1:
		return noise(n, r.Uint64())
	}
	return text(n, r.Uint64())
}

// Images that mksquashfs made, with every compressor and table it knows, read
// the same as the directory they were made from.
func TestReadForeign(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "src")
	run(t, "unsquashfs", "-quiet", "-no-progress", "-d", dir, imageFile(t, foreign(t), Options{ModTime: testTime}))
	want := foreign(t)
	for _, args := range []string{
		"-comp zstd", "-comp gzip", "-comp xz", "-comp xz -Xbcj x86", "-comp zstd -noI -noX -noId", "-comp zstd -noD -noF",
		"-comp gzip -no-fragments", "-comp zstd -always-use-fragments -no-exports", "-comp xz -b 4096", "-comp zstd -b 1M -no-sparse",
	} {
		t.Run(args, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "image")
			run(t, "mksquashfs", append([]string{dir, name, "-quiet", "-no-progress", "-all-root"}, strings.Fields(args)...)...)
			judgeReader(t, name, want)
		})
	}
	for _, comp := range []string{"lzo", "lz4"} {
		name := filepath.Join(t.TempDir(), comp)
		run(t, "mksquashfs", dir, name, "-quiet", "-no-progress", "-comp", comp)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "compressor "+comp+" is not supported") {
			t.Errorf("%s: got %v", comp, err)
		}
	}
}

// foreign is a tree that any user can extract.
func foreign(tb testing.TB) *tree.Tree {
	b := build(tb).dir("sizes").dir("links").dir("etc")
	addSizes(b, 128<<10)
	addLinks(b)
	for i := range 700 {
		b.file(fmt.Sprintf("etc/file-%03d-%s", i, strings.Repeat("n", i%60)), fmt.Append(nil, i))
	}
	for i, attr := range []string{"user.a", "user.b"} { // a value used twice is stored out of line
		b.put(&tree.Node{Path: fmt.Sprintf("etc/attr%d", i), Mode: 0o644, Content: tree.String("x"),
			Xattrs: map[string][]byte{attr: bytes.Repeat([]byte("value"), 100), "user.own": {byte(i)}}})
	}
	return canonical(tb, b.t)
}

func TestInfo(t *testing.T) {
	b := image(t, everything(t), Options{ModTime: testTime})
	r, err := Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	info := r.Info()
	if info.Compressor != "zstd" || info.BlockSize != DefaultBlockSize || !info.ModTime.Equal(testTime) || info.Size > int64(len(b)) || info.Size+padding <= int64(len(b)) {
		t.Errorf("%+v of %d bytes", info, len(b))
	}
}

func TestNotSquashfs(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("hsqs"), make([]byte, 4096)} {
		if _, err := Open(bytes.NewReader(b)); err != ErrNotSquashfs {
			t.Errorf("%d bytes: got %v", len(b), err)
		}
	}
}

// Every byte of a small image is damaged in turn, and every length cut: no
// panic, no endless loop, and what reads without an error is a tree.
func TestDamage(t *testing.T) {
	b := build(t).dir("d")
	b.file("d/f", text(9000, 1)).link("d/l", "d/f").file("d/g", text(50, 2))
	b.put(&tree.Node{Path: "x", Mode: 0o644, Content: tree.String("x"), Xattrs: map[string][]byte{"user.x": []byte("x")}})
	good := image(t, b.t, Options{BlockSize: 4096})
	bad := bytes.Clone(good)
	for i := range good {
		for _, v := range []byte{0, 0xff, good[i] ^ 1, good[i] ^ 0x80} {
			bad[i] = v
			readEverything(bad, 1<<22)
		}
		bad[i] = good[i]
	}
	for n := range good {
		readEverything(good[:n], 1<<22)
	}
	if n := readEverything(good, 1<<22); n != 9051 {
		t.Errorf("read %d bytes of the good image", n)
	}
}

// readEverything reads what it can of an image, up to limit bytes of data, and
// returns how much that was.
func readEverything(b []byte, limit int64) (total int64) {
	r, err := Open(bytes.NewReader(b))
	if err != nil {
		return 0
	}
	t, err := r.Tree()
	if err != nil {
		return 0
	}
	for n := range t.Walk() {
		if n.Content == nil || limit <= total {
			continue
		}
		f, err := n.Content.Open()
		if err != nil {
			continue
		}
		read, _ := io.Copy(io.Discard, io.LimitReader(f, limit-total))
		total += read
	}
	return total
}

func FuzzOpen(f *testing.F) {
	b := build(f).dir("d")
	b.file("d/f", text(9000, 1)).link("d/l", "d/f").file("d/g", text(50, 2))
	b.put(&tree.Node{Path: "x", Mode: 0o644, Content: tree.String("x"), Xattrs: map[string][]byte{"user.x": []byte("x")}})
	f.Add(image(f, b.t, Options{BlockSize: 4096}))
	f.Add(image(f, tree.New(), Options{}))
	dir := f.TempDir()
	for i, text := range []string{"one", "two", strings.Repeat("three ", 3000)} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(text), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	for _, args := range []string{"-comp gzip -b 4096", "-comp xz", "-comp zstd -noI -noD -noF -noX -noId"} {
		name := filepath.Join(f.TempDir(), "image")
		run(f, "mksquashfs", append([]string{dir, name, "-nopad", "-quiet", "-no-progress"}, strings.Fields(args)...)...)
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readEverything(b, 1<<20)
	})
}

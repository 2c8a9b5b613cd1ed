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
		opt := Options{ModTime: testTime}
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

func TestSize(t *testing.T) {
	b := image(t, everything(t), Options{ModTime: testTime})
	r, err := Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if size := r.Size(); size > int64(len(b)) || size+padding <= int64(len(b)) {
		t.Errorf("%d of %d bytes", size, len(b))
	}
}

func TestNotSquashfs(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("hsqs"), make([]byte, 4096)} {
		if _, err := Open(bytes.NewReader(b)); err != errNotSquashfs {
			t.Errorf("%d bytes: got %v", len(b), err)
		}
	}
}

// Every byte of a small image is damaged in turn, and every length cut: no
// panic, no endless loop, and what reads without an error is a tree.
func TestDamage(t *testing.T) {
	b := build(t).dir("d")
	b.put(&tree.Node{Path: "x", Mode: 0o644, Content: tree.String("x"), Xattrs: map[string][]byte{"user.x": []byte("x")}})
	for _, image := range []struct {
		good []byte
		data int64
	}{{small(t, "-comp zstd -b 4096"), 9051}, {image(t, b.t, Options{}), 1}} {
		bad := bytes.Clone(image.good)
		for i := range bad {
			for _, v := range []byte{0, 0xff, image.good[i] ^ 1, image.good[i] ^ 0x80} {
				bad[i] = v
				readEverything(bad, 1<<22)
			}
			bad[i] = image.good[i]
		}
		for n := range image.good {
			readEverything(image.good[:n], 1<<22)
		}
		if n := readEverything(image.good, 1<<22); n != image.data {
			t.Errorf("read %d bytes of the good image", n)
		}
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

// small is an image of mksquashfs: a file of several small blocks with another
// name, and two of one fragment.
func small(t testing.TB, args string) []byte {
	t.Helper()
	dir, name := t.TempDir(), filepath.Join(t.TempDir(), "image")
	for p, b := range map[string][]byte{"f": text(9000, 1), "g": text(50, 2), "x": []byte("x")} {
		if err := os.WriteFile(filepath.Join(dir, p), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	run(t, "mksquashfs", append([]string{dir, name, "-nopad", "-quiet", "-no-progress"}, strings.Fields(args)...)...)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzOpen(f *testing.F) {
	b := build(f).dir("d")
	b.file("d/f", text(9000, 1)).link("d/l", "d/f").file("d/g", text(50, 2))
	b.put(&tree.Node{Path: "x", Mode: 0o644, Content: tree.String("x"), Xattrs: map[string][]byte{"user.x": []byte("x")}})
	f.Add(image(f, b.t, Options{}))
	f.Add(image(f, tree.New(), Options{}))
	for _, args := range []string{"-comp gzip -b 4096", "-comp xz", "-comp zstd -noI -noD -noF -noX -noId"} {
		f.Add(small(f, args))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readEverything(b, 1<<20)
	})
}

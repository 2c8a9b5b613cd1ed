package squashfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// everything is a tree with each kind of node and each border case of blocks.
func everything(tb testing.TB) *tree.Tree {
	b := build(tb)
	b.dir("dev").dir("empty").dir("etc").dir("names").dir("sizes").dir("links").dir("attrs")
	b.put(&tree.Node{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777, ModTime: time.Unix(0, 0)})
	b.put(&tree.Node{Path: "dev/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Dev: tree.Dev{Major: 1, Minor: 3}})
	b.put(&tree.Node{Path: "dev/vda", Mode: fs.ModeDevice | 0o660, GID: 6, Dev: tree.Dev{Major: 254, Minor: 255}})
	b.put(&tree.Node{Path: "dev/fifo", Mode: fs.ModeNamedPipe | 0o600})
	b.put(&tree.Node{Path: "dev/socket", Mode: fs.ModeSocket | 0o755})
	b.put(&tree.Node{Path: "etc/su", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o4755&0o777, GID: 42, Content: tree.String("setuid\n")})
	b.put(&tree.Node{Path: "etc/future", Mode: 0, UID: 65536, GID: 4294967294, Content: tree.String("x"), ModTime: time.Unix(1<<32-1, 0)})
	addSizes(b, 128<<10)
	addLinks(b)
	addNames(b)
	addAttrs(b)
	return b.t
}

func addSizes(b *builder, block int) {
	for _, n := range []int{0, 1, block - 1, block, block + 1, 2 * block, 3*block + 77} {
		b.file(fmt.Sprintf("sizes/text-%d", n), text(n, uint64(n)))
		b.file(fmt.Sprintf("sizes/noise-%d", n), noise(n, uint64(n)))
		b.file(fmt.Sprintf("sizes/zero-%d", n), make([]byte, n))
	}
	hole := append(append(text(block, 5), make([]byte, 2*block)...), text(block/2, 6)...)
	b.file("sizes/hole", hole)
	b.file("sizes/hole-end", append(text(block, 7), make([]byte, block+block/2)...))
	b.file("sizes/copy-of-hole", hole)
	b.file("sizes/mixed", append(append(noise(block, 1), text(block, 2)...), noise(block, 3)...))
}

func addLinks(b *builder) {
	b.file("links/z", text(1000, 9)).link("links/a", "links/z").link("etc/z", "links/z").link("links/zz", "links/a")
	b.put(&tree.Node{Path: "links/relative", Mode: fs.ModeSymlink | 0o777, Link: "../etc/z"})
	b.put(&tree.Node{Path: "links/dangling", Mode: fs.ModeSymlink | 0o777, Link: "/no/such file\n"})
	b.put(&tree.Node{Path: "links/long", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("a/", 2047)})
}

func addNames(b *builder) {
	for _, name := range []string{" ", "a b", "ümläut-日本", "new\nline", "-rf", "...", "\\", "*", strings.Repeat("n", 255), "\x01", "a", "a-", "a.", "A"} {
		b.file("names/"+name, []byte(name))
	}
	deep := "names/deep"
	for range 40 {
		b.dir(deep)
		deep = path.Join(deep, "down")
	}
}

func addAttrs(b *builder) {
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	attrs := func(kv ...string) map[string][]byte {
		m := map[string][]byte{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = []byte(kv[i+1])
		}
		return m
	}
	b.put(&tree.Node{Path: "attrs/ping", Mode: 0o755, Content: tree.String("ping"), Xattrs: attrs("security.capability", string(capability))})
	b.put(&tree.Node{Path: "attrs/ping6", Mode: 0o755, Content: tree.String("ping"), Xattrs: attrs("security.capability", string(capability))})
	b.put(&tree.Node{Path: "attrs/many", Mode: 0o644, Content: tree.String("many"), Xattrs: attrs("user.b", "", "user.a", "1", "trusted.t", "\x00\xff")})
	b.put(&tree.Node{Path: "attrs/dir", Mode: fs.ModeDir | 0o700, Xattrs: attrs("user.dir", strings.Repeat("v", 3000))})
	b.put(&tree.Node{Path: "attrs/link", Mode: fs.ModeSymlink | 0o777, Link: "dir", Xattrs: attrs("trusted.link", "yes")})
	b.put(&tree.Node{Path: "attrs/fifo", Mode: fs.ModeNamedPipe | 0o600, Xattrs: attrs("trusted.fifo", "yes")})
	b.put(&tree.Node{Path: "attrs/node", Mode: fs.ModeDevice | 0o600, Dev: tree.Dev{Major: 7, Minor: 1}, Xattrs: attrs("trusted.node", "yes")})
	b.put(&tree.Node{Path: "attrs/empty", Mode: 0o600, Content: tree.Bytes(nil), Xattrs: attrs("user.empty", "file")})
}

// crowd is directories with far more entries than a header, or a metadata
// block, holds.
func crowd(tb testing.TB) *tree.Tree {
	b := build(tb)
	b.dir("many").dir("exact").dir("long")
	for i := range 4000 {
		b.file(fmt.Sprintf("many/file-%05d-%s", i, strings.Repeat("x", i%50)), fmt.Appendf(nil, "%d", i%700))
	}
	for i := range 256 {
		b.dir(fmt.Sprintf("exact/%03d", i))
	}
	for i := range 600 {
		p := fmt.Sprintf("long/%03d-%s", i, strings.Repeat("l", 250))
		b.dir(p).file(p+"/f", fmt.Appendf(nil, "%d", i))
	}
	return b.t
}

func TestIndependentJudges(t *testing.T) {
	for _, tt := range []struct {
		name string
		tree func(testing.TB) *tree.Tree
		opt  Options
	}{
		{"everything", everything, Options{ModTime: testTime}},
		{"crowd", crowd, Options{ModTime: testTime}},
		{"nothing", func(testing.TB) *tree.Tree { return tree.New() }, Options{ModTime: testTime}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.tree(t)
			name := imageFile(t, want, tt.opt)
			if want.Len() == 1 {
				want.Put(&tree.Node{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: tt.opt.ModTime})
			}
			judgeListing(t, name, want)
			judgeExtraction(t, name, want)
			judgeKernel(t, name, want)
			judgeReader(t, name, want)
		})
	}
}

// unsquashfs (4.5) cuts major and minor to 8 bits, so the kernel alone judges
// larger numbers.
func TestLargeDeviceNumbers(t *testing.T) {
	b := build(t)
	b.put(&tree.Node{Path: "max", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Dev: tree.Dev{Major: 4095, Minor: 1<<20 - 1}})
	b.put(&tree.Node{Path: "minor", Mode: fs.ModeDevice | 0o600, Dev: tree.Dev{Major: 8, Minor: 256}})
	b.put(&tree.Node{Path: "major", Mode: fs.ModeDevice | 0o600, Dev: tree.Dev{Major: 259, Minor: 1}})
	name := imageFile(t, b.t, Options{})
	judgeKernel(t, name, b.t)
	judgeReader(t, name, b.t)
}

func TestSuperblock(t *testing.T) {
	name := imageFile(t, everything(t), Options{ModTime: testTime})
	out := run(t, "unsquashfs", "-s", name)
	for _, want := range []string{
		"Creation or last append time Sat Aug  9 10:11:12 2025",
		"Compression zstd", "Block size 131072", "exportable via NFS", "Duplicates are removed", "Number of ids 5",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("unsquashfs -s lacks %q:\n%s", want, out)
		}
	}
}

// The image depends on the tree and the options alone.
func TestReproducible(t *testing.T) {
	src := everything(t)
	want := image(t, src, Options{})
	cache := newMemCache()
	for _, processors := range []int{1, 2, 3, 8} {
		for _, c := range []Cache{nil, cache, cache} {
			prev := runtime.GOMAXPROCS(processors)
			got := image(t, src, Options{Cache: c})
			runtime.GOMAXPROCS(prev)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d processors, cache %v: another image", processors, c != nil)
			}
		}
	}
}

// Equal trees made in another order, with other objects, give equal images.
func TestOrderOfInsertion(t *testing.T) {
	a, b := build(t), build(t)
	for i := range 50 {
		a.file(fmt.Sprintf("f%02d", i), text(5000, uint64(i%20)))
		b.file(fmt.Sprintf("f%02d", 49-i), text(5000, uint64((49-i)%20)))
	}
	if !bytes.Equal(image(t, a.t, Options{}), image(t, b.t, Options{})) {
		t.Error("images differ")
	}
}

func TestDuplicates(t *testing.T) {
	b := build(t)
	var opened int
	for i := range 20 {
		b.put(&tree.Node{Path: fmt.Sprintf("copy%d", i), Mode: 0o644, Content: &countedContent{tree.Bytes(noise(1<<20, 1)), &opened}})
	}
	if n := len(image(t, b.t, Options{})); n > 1<<20+64<<10 || opened != 1 {
		t.Errorf("20 copies of 1 MiB take %d bytes and are opened %d times", n, opened)
	}
}

// A file of more than 4 GiB that is a hole but for its end. Its blocks come
// from a cache that never sees them, as hashing 4 GiB would take seconds.
func TestHugeHole(t *testing.T) {
	const size = 5<<30 + 5
	b := build(t)
	b.put(&tree.Node{Path: "huge", Mode: 0o644, Content: &claimedContent{size: size, sum: "0"}})
	b.file("huge-link-neighbour", []byte("after"))
	cache := &holeCache{holes: 5 << 30 / blockSize}
	name := imageFile(t, b.t, Options{Cache: cache})
	judgeHugeHole(t, name, size)
	r := openFile(t, name)
	got, err := r.Tree()
	if err != nil {
		t.Fatal(err)
	}
	if n := got.Get("huge").Size(); n != size {
		t.Errorf("size %d", n)
	}
}

type holeCache struct{ holes int }

func (c *holeCache) Get(_ CacheKey, buf []byte) ([]byte, bool) {
	c.holes--
	switch {
	case c.holes >= 0:
		return append(buf, formHole), true
	case c.holes == -1:
		return append(buf, "shello"...), true
	}
	return buf, false
}
func (c *holeCache) Put(CacheKey, []byte) {}
func (c *holeCache) Commit()              {}

func TestProgress(t *testing.T) {
	src := everything(t)
	var total int64
	image(t, src, Options{Progress: func(n int64) { total += n }})
	if want := DataSize(src); total != want {
		t.Errorf("progress of %d bytes, want %d", total, want)
	}
}

func TestRefusals(t *testing.T) {
	file := func(n tree.Node) *tree.Node {
		n.Path = "f"
		if n.Mode == 0 && n.Link == "" && n.Content == nil {
			n.Content = tree.String("data")
		}
		return &n
	}
	boom := errors.New("boom")
	good := tree.Bytes(text(5000, 1))
	for _, tt := range []struct {
		want string
		node *tree.Node
		opt  Options
	}{
		{`/f: squashfs stores extended attributes of user.*, trusted.* and security.*, not "system.posix_acl_access"`, file(tree.Node{Xattrs: map[string][]byte{"system.posix_acl_access": nil}}), Options{}},
		{"is out of range", file(tree.Node{Xattrs: map[string][]byte{"user.x": make([]byte, 65537)}}), Options{}},
		{"is out of range", file(tree.Node{Xattrs: map[string][]byte{"user.": nil}}), Options{}},
		{"time 1969-12-31T23:59:59Z does not fit", file(tree.Node{ModTime: time.Unix(-1, 0)}), Options{}},
		{"time 2106-02-07T06:28:16Z does not fit", file(tree.Node{ModTime: time.Unix(1<<32, 0)}), Options{}},
		{"hard link to /gone, which is not", file(tree.Node{Link: "gone"}), Options{}},
		{"hard link to /f, which is not", file(tree.Node{Link: "f"}), Options{}},
		{"symbolic link of 0 bytes", file(tree.Node{Mode: fs.ModeSymlink}), Options{}},
		{"symbolic link of 4096 bytes", file(tree.Node{Mode: fs.ModeSymlink, Link: strings.Repeat("x", 4096)}), Options{}},
		{"device number 4096:0", file(tree.Node{Mode: fs.ModeDevice, Dev: tree.Dev{Major: 4096}}), Options{}},
		{"no files of type", file(tree.Node{Mode: fs.ModeIrregular}), Options{}},
		{"regular file without content", &tree.Node{Path: "f"}, Options{}},
		{"name has 256 bytes", &tree.Node{Path: strings.Repeat("n", 256), Content: good}, Options{}},
		{"/f: boom", file(tree.Node{Content: &brokenContent{Content: good, size: 5000, openErr: boom}}), Options{}},
		{"/f: boom", file(tree.Node{Content: &brokenContent{Content: good, size: 5000, readErr: boom}}), Options{}},
		{"from test 1.0 ends before its 5001 bytes", file(tree.Node{Content: &brokenContent{Content: good, size: 5001}}), Options{}},
		{"from test 1.0 is longer than its 4999 bytes", file(tree.Node{Content: &brokenContent{Content: good, size: 4999}}), Options{}},
		{"has digest ", file(tree.Node{Content: &claimedContent{tree.String("data"), 4, "beef"}}), Options{}},
		{"1969-12-31", file(tree.Node{}), Options{ModTime: time.Unix(-1, 0)}},
	} {
		cache := newMemCache()
		tt.opt.Cache = cache
		_, err := Write(t.Context(), new(buffer), build(t).put(tt.node).t, tt.opt)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", tt.want, err)
		}
		if cache.commits > 0 {
			t.Errorf("%s: blocks were committed to the cache", tt.want)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	before := runtime.NumGoroutine()
	_, err := Write(ctx, new(buffer), everything(t), Options{Progress: func(int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	time.Sleep(10 * time.Millisecond)
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines are left", n-before)
	}
}

// fullDisk fails after some bytes, wherever that is.
type fullDisk struct {
	buffer
	left int
}

var errFull = errors.New("no space left on device")

func (d *fullDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errFull
	}
	return d.buffer.WriteAt(p, off)
}

func TestDiskFull(t *testing.T) {
	src := everything(t)
	size := len(image(t, src, Options{}))
	for left := 0; left < size; left += size / 23 {
		d := &fullDisk{left: left}
		if _, err := Write(t.Context(), d, src, Options{}); !errors.Is(err, errFull) {
			t.Errorf("%d of %d bytes: got %v", left, size, err)
		}
		if _, err := Open(d); err == nil {
			t.Errorf("%d of %d bytes: what is there opens as a squashfs", left, size)
		}
	}
}

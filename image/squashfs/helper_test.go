package squashfs

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// testTime is 2025-08-09 10:11:12 UTC.
var testTime = time.Unix(1754734272, 0).UTC()

// buffer is an io.WriterAt and io.ReaderAt in memory.
type buffer struct{ b []byte }

func (m *buffer) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, off) }

func (m *buffer) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - len(m.b); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	return copy(m.b[off:], p), nil
}

// image writes t and returns the bytes.
func image(tb testing.TB, t *tree.Tree, opt Options) []byte {
	tb.Helper()
	var m buffer
	size, err := Write(context.Background(), &m, t, opt)
	if err != nil {
		tb.Fatal(err)
	}
	if size != int64(len(m.b)) || size%padding != 0 {
		tb.Fatalf("Write returned %d, wrote %d bytes", size, len(m.b))
	}
	return m.b
}

// imageFile writes t into a file of its own and returns the path.
func imageFile(tb testing.TB, t *tree.Tree, opt Options) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "image")
	if err := os.WriteFile(name, image(tb, t, opt), 0o644); err != nil {
		tb.Fatal(err)
	}
	return name
}

// describe returns one line for each node, with everything an image keeps.
// Hard links are reduced to their first name, which is the one in order.
func describe(t *tree.Tree) []string {
	first := map[string]string{}
	var lines []string
	for n := range t.Walk() {
		lines = append(lines, describeNode(t, n, first))
	}
	return lines
}

func describeNode(t *tree.Tree, n *tree.Node, first map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %s %d:%d %d", n.Path, n.Mode, n.UID, n.GID, max(n.ModTime.Unix(), 0))
	switch {
	case n.Mode.IsRegular():
		origin := target(t, n)
		if name, ok := first[origin.Path]; ok {
			fmt.Fprintf(&b, " = %q", name)
			break
		}
		first[origin.Path] = n.Path
		c := origin.Content
		fmt.Fprintf(&b, " %d %.12s", c.Size(), c.SHA256())
	case n.Mode&fs.ModeSymlink != 0:
		fmt.Fprintf(&b, " -> %q", n.Link)
	case n.Mode&fs.ModeDevice != 0:
		fmt.Fprintf(&b, " %d,%d", n.Dev.Major, n.Dev.Minor)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Xattrs)) {
		v := n.Xattrs[k]
		fmt.Fprintf(&b, " %s=%s", k, hex.EncodeToString(v[:min(len(v), 16)]))
		if len(v) > 16 {
			fmt.Fprintf(&b, "…%d", len(v))
		}
	}
	return b.String()
}

// target follows hard links to the node that has the content.
func target(t *tree.Tree, n *tree.Node) *tree.Node {
	for n.IsHardLink() {
		n = t.Get(n.Link)
	}
	return n
}

func compare(tb testing.TB, judge string, want, got *tree.Tree) {
	tb.Helper()
	if diff := cmp.Diff(describe(want), describe(got)); diff != "" {
		tb.Errorf("%s (-want +got):\n%.8000s", judge, diff)
	}
}

// run runs a program that every developer and CI machine has.
func run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	if _, err := exec.LookPath(name); err != nil {
		tb.Fatalf("%v: run make deps", err)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stderr.Bytes(), out)
	}
	return string(out)
}

// builder makes test trees.
type builder struct {
	tb testing.TB
	t  *tree.Tree
}

func build(tb testing.TB) *builder {
	b := &builder{tb, tree.New()}
	b.put(&tree.Node{Path: ".", Mode: fs.ModeDir | 0o755})
	return b
}

func (b *builder) put(n *tree.Node) *builder {
	b.tb.Helper()
	if n.ModTime.IsZero() {
		n.ModTime = testTime
	}
	if n.Source == "" {
		n.Source = "test 1.0"
	}
	if err := b.t.Put(n); err != nil {
		b.tb.Fatal(err)
	}
	return b
}

func (b *builder) dir(p string) *builder {
	return b.put(&tree.Node{Path: p, Mode: fs.ModeDir | 0o755})
}

func (b *builder) file(p string, data []byte) *builder {
	return b.put(&tree.Node{Path: p, Mode: 0o644, Content: tree.Bytes(data)})
}

func (b *builder) link(p, target string) *builder {
	return b.put(&tree.Node{Path: p, Mode: 0o644, Link: target})
}

// text returns n compressible bytes, noise n that are not.
func text(n int, seed uint64) []byte {
	words := strings.Fields("root slot partition firmware kernel module board overlay tree node fleet witness")
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "%s=%d\n", words[r.IntN(len(words))], r.IntN(1000))
	}
	return b[:n]
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

// memCache is a Cache that counts.
type memCache struct {
	buffer        map[CacheKey][]byte
	kept          map[CacheKey][]byte
	gets, commits int
	lock          chan struct{}
}

func newMemCache() *memCache {
	return &memCache{map[CacheKey][]byte{}, map[CacheKey][]byte{}, 0, 0, make(chan struct{}, 1)}
}

func (c *memCache) Get(k CacheKey, buf []byte) ([]byte, bool) {
	c.gets++
	d, ok := c.kept[k]
	return append(buf, d...), ok
}

func (c *memCache) Put(k CacheKey, data []byte) {
	c.lock <- struct{}{}
	defer func() { <-c.lock }()
	c.buffer[k] = bytes.Clone(data)
}

func (c *memCache) Commit() {
	c.commits++
	maps.Copy(c.kept, c.buffer)
	clear(c.buffer)
}

// brokenContent fails in the way its fields say.
type brokenContent struct {
	tree.Content
	size    int64
	openErr error
	readErr error
}

func (c *brokenContent) Size() int64 { return c.size }

func (c *brokenContent) Open() (io.ReadCloser, error) {
	if c.openErr != nil {
		return nil, c.openErr
	}
	r, err := c.Content.Open()
	if c.readErr != nil {
		r = io.NopCloser(io.MultiReader(io.LimitReader(r, 10), failReader{c.readErr}))
	}
	return r, err
}

// claimedContent is not what it says.
type claimedContent struct {
	tree.Content
	size int64
	sum  string
}

func (c *claimedContent) Size() int64    { return c.size }
func (c *claimedContent) SHA256() string { return c.sum }

// countedContent counts how often it is opened.
type countedContent struct {
	tree.Content
	opened *int
}

func (c *countedContent) Open() (io.ReadCloser, error) {
	*c.opened++
	return c.Content.Open()
}

type failReader struct{ err error }

func (r failReader) Read([]byte) (int, error) { return 0, r.err }

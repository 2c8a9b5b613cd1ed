package squashfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/squashfs/blockcache"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// sink is an image in memory.
type sink struct{ b []byte }

func (m *sink) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - len(m.b); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	return copy(m.b[off:], p), nil
}

// root is a tree of some 6 MB: 400 small files and 5 large ones.
func root(tb testing.TB, edit map[string]string) *tree.Tree {
	t := tree.New()
	put := func(p string, b []byte) {
		if text, ok := edit[p]; ok {
			b = []byte(text)
		}
		if err := t.Put(&tree.Node{Path: p, Mode: 0o644, Content: tree.Bytes(b)}); err != nil {
			tb.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		put(fmt.Sprintf("small-%04d", i), prose(r, 100+r.IntN(12000)))
	}
	for i := range 5 {
		put(fmt.Sprintf("large-%02d", i), prose(r, 500_000+r.IntN(1_000_000)))
	}
	return t
}

func prose(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(2)*r.IntN(20))
	}
	return b
}

// counts tells what a write asked of the cache and what it got.
type counts struct {
	squashfs.Cache
	blocks, cached int
}

func (c *counts) Get(key squashfs.CacheKey, buf []byte) ([]byte, bool) {
	b, ok := c.Cache.Get(key, buf)
	if c.blocks++; ok {
		c.cached++
	}
	return b, ok
}

func write(tb testing.TB, t *tree.Tree, cache squashfs.Cache) ([]byte, counts) {
	tb.Helper()
	var m sink
	c := counts{Cache: cache}
	opt := squashfs.Options{}
	if cache != nil {
		opt.Cache = &c
	}
	if _, err := squashfs.Write(tb.Context(), &m, t, opt); err != nil {
		tb.Fatal(err)
	}
	return m.b, c
}

func openCache(tb testing.TB, dir string) *blockcache.Cache {
	tb.Helper()
	c, err := blockcache.Open(dir, 1<<30)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// After a first write nothing is read or compressed again but what changed, in
// any process, and the images are those of a write without a cache.
func TestWarmWrite(t *testing.T) {
	dir := t.TempDir()
	before := root(t, nil)
	cold, s := write(t, before, openCache(t, dir))
	if s.cached != 0 || s.blocks == 0 {
		t.Fatalf("cold: %d of %d blocks", s.cached, s.blocks)
	}
	warm, s := write(t, before, openCache(t, dir))
	if s.cached != s.blocks {
		t.Errorf("warm: %d of %d blocks", s.cached, s.blocks)
	}
	if !bytes.Equal(cold, warm) {
		t.Error("the warm image is another")
	}
	for _, edit := range []map[string]string{
		{"small-0000": "changed"},
		{"small-0200": ""},
		{"small-0200": string(prose(rand.New(rand.NewPCG(3, 3)), 60000))},
		{"large-03": "small now"},
		{"small-0399": string(prose(rand.New(rand.NewPCG(4, 4)), 300000))},
	} {
		after := root(t, edit)
		warm, s := write(t, after, openCache(t, dir))
		if missed := s.blocks - s.cached; missed > 12 {
			t.Errorf("%.20v: %d of %d blocks were not in the cache", edit, missed, s.blocks)
		}
		if cold, _ := write(t, after, nil); !bytes.Equal(cold, warm) {
			t.Errorf("%.20v: the warm image is another", edit)
		}
	}
}

// Whatever happens to the files of a cache, images stay the same.
func TestDamagedCache(t *testing.T) {
	src := root(t, nil)
	want, _ := write(t, src, nil)
	r := rand.New(rand.NewPCG(5, 5))
	for i := range 4 {
		dir := t.TempDir()
		write(t, src, openCache(t, dir))
		damage(t, dir, r)
		got, s := write(t, src, openCache(t, dir))
		if !bytes.Equal(got, want) {
			t.Fatalf("damage %d: another image", i)
		}
		if s.cached == s.blocks {
			t.Errorf("damage %d: went unnoticed", i)
		}
		if _, s = write(t, src, openCache(t, dir)); s.cached != s.blocks {
			t.Errorf("damage %d: not healed: %d of %d blocks", i, s.cached, s.blocks)
		}
	}
}

// damage flips a byte somewhere in the only file of dir, or cuts it.
func damage(t *testing.T, dir string, r *rand.Rand) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	name := dir + "/" + entries[0].Name()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if at := r.IntN(len(b)); r.IntN(3) == 0 {
		b = b[:at]
	} else {
		b[at] ^= 1 << r.IntN(8)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

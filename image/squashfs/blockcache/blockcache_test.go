package blockcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// block returns the key and the data of test block i.
func block(i int) (Key, []byte) {
	key := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	return key, bytes.Repeat(key[:], i%100)
}

func open(tb testing.TB, dir string, limit int64) *Cache {
	tb.Helper()
	c, err := Open(dir, limit)
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

func put(c *Cache, from, to int) {
	for i := from; i < to; i++ {
		key, data := block(i)
		c.Put(key, data)
	}
}

// count returns how many of the blocks are there, and fails if one is wrong.
func count(tb testing.TB, c *Cache, from, to int) (n int) {
	tb.Helper()
	for i := from; i < to; i++ {
		key, want := block(i)
		got, ok := c.Get(key, []byte("prefix"))
		if ok && string(got) != "prefix"+string(want) {
			tb.Fatalf("block %d is wrong", i)
		}
		if ok {
			n++
		}
	}
	return n
}

func files(tb testing.TB, dir string) (segments, others int, size int64) {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != segmentSuffix {
			others++
			continue
		}
		segments++
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	return segments, others, size
}

func TestCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	c := open(t, dir, 1<<30)
	put(c, 0, 50)
	if n := count(t, c, 0, 50); n != 0 {
		t.Errorf("%d blocks before Commit", n)
	}
	c.Commit()
	put(c, 50, 80)
	if n := count(t, c, 0, 80); n != 50 {
		t.Errorf("%d blocks after Commit, want 50", n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if n := count(t, open(t, dir, 1<<30), 0, 80); n != 50 {
		t.Errorf("%d blocks after opening again, want 50", n)
	}
	if segments, others, _ := files(t, dir); segments != 1 || others != 0 {
		t.Errorf("%d segments, %d other files", segments, others)
	}
}

func TestNothingNew(t *testing.T) {
	dir := t.TempDir()
	for range 5 {
		c := open(t, dir, 1<<30)
		put(c, 0, 20)
		c.Commit()
		c.Commit()
	}
	if segments, others, _ := files(t, dir); segments != 1 || others != 0 {
		t.Errorf("%d segments, %d other files", segments, others)
	}
}

// Many small builds do not leave many files, nor lose a block.
func TestMerge(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 1<<30)
	put(c, 0, 1000)
	c.Commit()
	for i := range 100 {
		c := open(t, dir, 1<<30)
		put(c, 1000+i, 1001+i)
		c.Commit()
		if segments, others, _ := files(t, dir); segments > maxSegments || others != 0 {
			t.Fatalf("build %d: %d segments, %d other files", i, segments, others)
		}
	}
	if n := count(t, open(t, dir, 1<<30), 0, 1100); n != 1100 {
		t.Errorf("%d of 1100 blocks", n)
	}
}

// The limit holds, and what was used last stays.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	const limit = 400_000
	for i := range 10 {
		c := open(t, dir, limit)
		put(c, 100*i, 100*i+50)
		count(t, c, 0, 50) // keeps the first segment young
		c.Commit()
		if _, _, size := files(t, dir); size > limit {
			t.Fatalf("build %d: %d bytes", i, size)
		}
		c.Close()
		age(t, dir)
	}
	c := open(t, dir, limit)
	if n := count(t, c, 0, 50); n != 50 {
		t.Errorf("%d of 50 blocks that were used each time", n)
	}
	if n := count(t, c, 900, 950); n != 50 {
		t.Errorf("%d of 50 blocks of the last build", n)
	}
	if n := count(t, c, 100, 150); n != 0 {
		t.Errorf("%d blocks that nobody used", n)
	}
}

// age makes everything a minute older, as tests are faster than file times.
func age(t *testing.T, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		when := info.ModTime().Add(-time.Minute)
		if err := os.Chtimes(filepath.Join(dir, e.Name()), when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLimitBelowOneBuild(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 5000)
	put(c, 0, 1000)
	c.Commit()
	if _, _, size := files(t, dir); size > 5000 {
		t.Errorf("%d bytes", size)
	}
}

func TestStaleTemporary(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"tmp-old": 25 * time.Hour, "tmp-young": time.Hour} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("half a segment"), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(p, when, when); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, 1<<20)
	if _, err := os.Stat(filepath.Join(dir, "tmp-old")); err == nil {
		t.Error("what a dead process left is still there")
	}
	if _, err := os.Stat(filepath.Join(dir, "tmp-young")); err != nil {
		t.Error("what another process writes was removed")
	}
}

// Each byte of a segment is damaged in turn: the block is gone or right.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 1<<20)
	put(c, 1, 6)
	c.Commit()
	c.Close()
	names, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	good, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		checkDamaged(t, names[0], bad)
		checkDamaged(t, names[0], good[:i])
	}
}

func checkDamaged(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Open(filepath.Dir(name), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	count(t, c, 1, 6)
}

// The only block of a segment is damaged and put again: the same segment.
func TestHealSingle(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		c := open(t, dir, 1<<20)
		put(c, 3, 4)
		c.Commit()
		c.Close()
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, 1<<20)
	if n := count(t, c, 3, 4); n != 0 {
		t.Error("damage went unnoticed")
	}
	put(c, 3, 4)
	c.Commit()
	if n := count(t, c, 3, 4) + count(t, open(t, dir, 1<<20), 3, 4); n != 2 {
		t.Error("the block is not back")
	}
}

// A directory that cannot be written makes a cache that keeps nothing and
// says so at the end.
func TestLostDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c, err := Open(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	put(c, 0, 10)
	c.Commit()
	if n := count(t, c, 0, 10); n != 0 {
		t.Errorf("%d blocks", n)
	}
	if err := c.Close(); err == nil {
		t.Error("Close knows nothing of it")
	}
}

// Caches of several processes and goroutines share one directory.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 12 {
				c, err := Open(dir, 1<<30)
				if err != nil {
					t.Error(err)
					return
				}
				put(c, 10*i, 10*i+10+w)
				count(t, c, 0, 200)
				c.Commit()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, open(t, dir, 1<<30), 0, 120); n != 120 {
		t.Errorf("%d of 120 blocks", n)
	}
	if _, others, _ := files(t, dir); others != 0 {
		t.Errorf("%d temporary files are left", others)
	}
}

// TestMain doubles as the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BLOCKCACHE_TEST_DIR"); dir != "" {
		for i := 0; ; i++ {
			c, err := Open(dir, 1<<21)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			put(c, 37*i, 37*i+100)
			c.Commit()
			c.Close()
		}
	}
	os.Exit(m.Run())
}

// Processes are killed at any moment; what is there afterwards is right.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "BLOCKCACHE_TEST_DIR="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+7*i%60) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		c, err := Open(dir, 1<<21)
		if err != nil {
			t.Fatal(err)
		}
		count(t, c, 0, 5000)
		c.Close()
	}
	if segments, _, _ := files(t, dir); segments == 0 {
		t.Error("no process lived long enough to store anything")
	}
}

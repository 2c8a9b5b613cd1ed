package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// derive returns the content of kind/key, which text makes.
func derive(t *testing.T, c *Cache, kind, key, text string) string {
	t.Helper()
	f, err := c.Derive(t.Context(), kind, key, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDerive(t *testing.T) {
	c := testCache(t, t.TempDir())
	if got := derive(t, c, "deb", "abc-v1", "first"); got != "first" {
		t.Errorf("got %q", got)
	}
	if got := derive(t, c, "deb", "abc-v1", "second"); got != "first" {
		t.Errorf("built again: %q", got)
	}
	if !c.Has("deb", "abc-v1") || c.Has("deb", "abc-v2") {
		t.Error("Has is wrong")
	}
	path := c.path("deb", "abc-v1")

	os.Truncate(path, 2)
	if got := derive(t, c, "deb", "abc-v1", "third"); got != "third" {
		t.Errorf("a truncated file was used: %q", got)
	}

	os.WriteFile(path, []byte("thirX"), 0o644)
	f, err := c.Derive(t.Context(), "deb", "abc-v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if err := f.Verify(); !errors.As(err, &damaged) || damaged.Kind != "deb" || damaged.Key != "abc-v1" {
		t.Errorf("Verify = %v", err)
	}
	if err := c.Drop("deb", "abc-v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(); !errors.As(err, &damaged) {
		t.Errorf("Open of nothing = %v", err)
	}
	if got := derive(t, c, "deb", "abc-v1", "fourth"); got != "fourth" {
		t.Errorf("got %q", got)
	}
	if err := c.Drop("deb", "never-was"); err != nil {
		t.Error(err)
	}
}

func TestDeriveFails(t *testing.T) {
	c := testCache(t, t.TempDir())
	bad := errors.New("bad archive")
	_, err := c.Derive(t.Context(), "deb", "k", func(w io.Writer) error {
		io.WriteString(w, "half")
		return bad
	})
	if !errors.Is(err, bad) {
		t.Errorf("error = %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(c.Dir(), tmpDir)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if got := derive(t, c, "deb", "k", "whole"); got != "whole" {
		t.Errorf("got %q", got)
	}
}

func TestDeriveOnceTogether(t *testing.T) {
	dir := t.TempDir()
	caches := []*Cache{testCache(t, dir), testCache(t, dir)}
	var built atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := caches[i%2].Derive(context.Background(), "deb", "k", func(w io.Writer) error {
				built.Add(1)
				time.Sleep(20 * time.Millisecond)
				_, err := io.WriteString(w, "content")
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := built.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
}

func TestDeriveMayNest(t *testing.T) {
	c := testCache(t, t.TempDir())
	f, err := c.Derive(t.Context(), "outer", "k", func(w io.Writer) error {
		inner, err := c.Derive(t.Context(), "inner", "k", func(w io.Writer) error {
			_, err := io.WriteString(w, "inside")
			return err
		})
		if err != nil {
			return err
		}
		b, err := inner.Bytes()
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := f.Bytes(); err != nil || string(b) != "inside" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestRemembered(t *testing.T) {
	c, calls := testCache(t, t.TempDir()), 0
	get := func() (string, error) {
		b, err := c.Remember(t.Context(), "kind", "key", func() ([]byte, error) { calls++; return []byte("result"), nil })
		return string(b), err
	}
	for range 2 {
		if got, err := get(); got != "result" || err != nil || calls != 1 {
			t.Errorf("%q, %v after %d calls", got, err, calls)
		}
	}
	os.WriteFile(c.path("kind", "key"), []byte("rosult"), 0o644)
	var damaged *DamagedError
	if _, err := get(); !errors.As(err, &damaged) || damaged.Kind != "kind" || damaged.Key != "key" {
		t.Errorf("damaged: %v", err)
	}
}

// TestReadersNeverGetAWholeFileOfWrongBytes reads exactly as much as there is,
// of whole files, of parts, and of nothing.
func TestReadersNeverGetAWholeFileOfWrongBytes(t *testing.T) {
	c := testCache(t, t.TempDir())
	derive(t, c, "deb", "k", "first second")
	f, err := c.Derive(t.Context(), "deb", "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }
	for _, c := range []struct {
		off, size int64
		sum       string
		good      bool
	}{
		{0, 12, sum("first second"), true}, {6, 6, sum("second"), true}, {3, 0, sum(""), true},
		{6, 6, sum("first"), false}, {0, 5, sum("second"), false}, {3, 0, sum("x"), false}, {6, 7, sum("second"), false},
	} {
		r, err := f.Section(c.off, c.size, c.sum)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadFull(r, make([]byte, c.size))
		if err == nil && c.size == 0 {
			_, err = r.Read(make([]byte, 1))
			if err == io.EOF {
				err = nil
			}
		}
		_, again := io.ReadAll(r)
		r.Close()
		_, damaged := errors.AsType[*DamagedError](err)
		if c.good != (err == nil) || !c.good && (!damaged || again == nil || int64(n) == c.size && c.size > 0) {
			t.Errorf("%+v: %d bytes, %v, then %v", c, n, err, again)
		}
	}
}

func TestNamesMustBePlain(t *testing.T) {
	c := testCache(t, t.TempDir())
	for _, name := range []string{"", "..", "../x", "a/b", `a\b`, ".hidden", "a b", "x.sum", strings.Repeat("k", 200)} {
		if _, err := c.Derive(t.Context(), "kind", name, nil); err == nil {
			t.Errorf("key %q was taken", name)
		}
		if _, err := c.Derive(t.Context(), name, "key", nil); err == nil {
			t.Errorf("kind %q was taken", name)
		}
		if err := c.Drop("kind", name); err == nil {
			t.Errorf("Drop took %q", name)
		}
	}
	if err := c.Drop(Downloads, "../../x"); err == nil {
		t.Error("Drop took a path for a digest")
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	c := testCache(t, dir)
	_, fresh := blob(1)
	_, old := blob(2)
	for _, name := range []string{c.tmp("deb", "killed"), c.tmp(Downloads, fresh), c.tmp(Downloads, old), filepath.Join(dir, lockDir, "deb-killed")} {
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * partialLife)
	os.Chtimes(c.tmp(Downloads, old), past, past)
	// One that another process is building right now.
	unlock, err := c.lock(t.Context(), "deb", "alive")
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(c.tmp("deb", "alive"), []byte("x"), 0o644)
	testCache(t, dir)
	var left []string
	for _, d := range []string{tmpDir, lockDir} {
		entries, _ := os.ReadDir(filepath.Join(dir, d))
		for _, e := range entries {
			left = append(left, d+"/"+e.Name())
		}
	}
	unlock()
	if diff := cmp.Diff([]string{"tmp/deb-alive", "tmp/sha256-" + fresh, "lock/deb-alive"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestInfoAndPrune(t *testing.T) {
	dir := t.TempDir()
	c := testCache(t, dir)
	b, sum := blob(1000)
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { content(w, r, b) })
	fill := func() {
		t.Helper()
		for i, name := range []string{"a.blocks", "tmp-1"} { // as package blockcache has them
			if err := os.WriteFile(filepath.Join(c.Blocks(), name), make([]byte, 10-i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Get(t.Context(), Request{Name: "x", URLs: []string{s.URL}, SHA256: sum}, progress.Discard); err != nil {
			t.Fatal(err)
		}
		for i, age := range []int{0, 10, 20} {
			key := fmt.Sprintf("k%d", i)
			derive(t, c, "deb", key, strings.Repeat("x", 100))
			then := time.Now().Add(-time.Duration(age) * 24 * time.Hour)
			os.Chtimes(c.path("deb", key), then, then)
		}
	}
	fill()
	check := func(want string, got []Usage, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var text string
		for _, u := range got {
			text += fmt.Sprintf("%s %d %d; ", u.Kind, u.Entries, u.Bytes)
		}
		if diff := cmp.Diff(want, text); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	got, err := c.Info()
	check("deb 3 300; sha256 1 1000; squashfs 1 10; unfinished 1 9; ", got, err)

	other := testCache(t, dir)
	if _, err := c.Prune(Policy{All: true}); !errors.Is(err, errInUse) {
		t.Errorf("pruned under another build: %v", err)
	}
	other.Close()

	got, err = c.Prune(Policy{})
	check("", got, err)
	got, err = c.Prune(Policy{MaxAge: 15 * 24 * time.Hour})
	check("deb 1 100; ", got, err)
	got, err = c.Prune(Policy{MaxBytes: 1119})
	check("deb 1 100; ", got, err)
	if !c.Has("deb", "k0") || c.Has("deb", "k1") || c.Has("deb", "k2") {
		t.Error("pruned the wrong ones")
	}
	fill()
	got, err = c.Prune(Policy{All: true})
	check("deb 3 300; sha256 1 1000; squashfs 1 10; unfinished 1 9; ", got, err)
	got, err = c.Info()
	check("", got, err)
	fill() // still usable
}

func TestUseKeepsEntriesYoung(t *testing.T) {
	c := testCache(t, t.TempDir())
	derive(t, c, "deb", "k", "x")
	then := time.Now().Add(-48 * time.Hour)
	os.Chtimes(c.path("deb", "k"), then, then)
	derive(t, c, "deb", "k", "x")
	if fi, err := os.Stat(c.path("deb", "k")); err != nil || time.Since(fi.ModTime()) > time.Hour {
		t.Error("a used entry looks old")
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/somewhere")
	if d, err := cacheDir(""); err != nil || d != filepath.FromSlash("/somewhere/imagebuilder") {
		t.Errorf("got %s, %v", d, err)
	}
	t.Setenv("XDG_CACHE_HOME", "relative") // to be ignored (XDG base directory specification)
	t.Setenv("HOME", "/home/user")
	if d, err := cacheDir(""); err == nil && strings.Contains(d, "relative") {
		t.Errorf("got %s", d)
	}
}

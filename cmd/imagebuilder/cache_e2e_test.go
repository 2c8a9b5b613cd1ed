//go:build e2e

package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// damage replaces one byte of a cache entry, in a new file, as other caches have hard links
// to the old one.
func damage(t *testing.T, name string, at int64) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0x10
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func cut(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data[:len(data)/2], 0o644); err != nil {
		t.Fatal(err)
	}
}

// entries lists the files of a kind, the largest first, without their sums.
func entries(t *testing.T, cache, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(cache, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, name := range all {
		if filepath.Ext(name) != ".sum" {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		t.Fatalf("the cache has no %s", pattern)
	}
	size := func(name string) int64 {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	sort.SliceStable(list, func(i, j int) bool { return size(list[i]) > size(list[j]) })
	return list
}

func middle(t *testing.T, name string) int64 {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size() / 2
}

// TestDamagedCacheIsRepaired: whatever a disk does to the cache, the image is the same, and
// no clean-up is needed.
func TestDamagedCacheIsRepaired(t *testing.T) {
	blob := func(t *testing.T, cache string) string {
		p := packageNamed(t, "zstd")
		name := filepath.Join(cache, "sha256", p.SHA256[:2], p.SHA256)
		if _, err := os.Stat(name); err != nil { // decoded long ago, and pruned
			t.Fatalf("the cache has no zstd to damage: %v", err)
		}
		for _, f := range entries(t, cache, "derived/deb/"+p.SHA256+"*") {
			os.Remove(f)
		}
		return name
	}
	for _, c := range []struct {
		name string
		hit  func(t *testing.T, cache string)
	}{
		{"a byte of a package", func(t *testing.T, cache string) { name := blob(t, cache); damage(t, name, middle(t, name)) }},
		{"half a package", func(t *testing.T, cache string) { cut(t, blob(t, cache)) }},
		{"a byte of a decoded package", func(t *testing.T, cache string) {
			// Without packed blocks every file is read again.
			os.RemoveAll(filepath.Join(cache, "squashfs"))
			name := entries(t, cache, "derived/deb/"+packageNamed(t, "zstd").SHA256+"*")[0]
			damage(t, name, middle(t, name))
		}},
		{"the head of a decoded package", func(t *testing.T, cache string) {
			damage(t, entries(t, cache, "derived/deb/"+packageNamed(t, "bash").SHA256+"*")[0], 9)
		}},
		{"half a decoded package", func(t *testing.T, cache string) { cut(t, entries(t, cache, "derived/deb/*")[0]) }},
		{"the sum of a decoded package", func(t *testing.T, cache string) {
			damage(t, entries(t, cache, "derived/deb/*")[0]+".sum", 5)
		}},
		{"every other derived kind", func(t *testing.T, cache string) {
			for _, pattern := range []string{"derived/apt-index/*", "derived/kmod/*", "derived/check/*"} {
				name := entries(t, cache, pattern)[0]
				damage(t, name, middle(t, name))
			}
		}},
		{"the heads of every other derived kind", func(t *testing.T, cache string) {
			for _, pattern := range []string{"derived/apt-index/*", "derived/kmod/*", "derived/check/*"} {
				for _, name := range entries(t, cache, pattern) {
					damage(t, name, 3)
				}
			}
		}},
		{"packed blocks", func(t *testing.T, cache string) {
			for _, name := range entries(t, cache, "squashfs/*.blocks") {
				damage(t, name, middle(t, name))
			}
		}},
		{"signed indexes", func(t *testing.T, cache string) {
			for _, name := range entries(t, cache, "index/*.json") {
				damage(t, name, middle(t, name))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := cacheCopy(t)
			c.hit(t, cache)
			builds(t, cache, filepath.Join(outDir(t), "x.img"))
		})
	}
}

func TestPruneAllLeavesNothing(t *testing.T) {
	cache := cacheCopy(t)
	if len(entries(t, cache, "squashfs/*")) == 0 {
		t.Fatal("no blocks to remove")
	}
	if r := imagebuilder(t, "cache", "prune", "--all", "--cache", cache); r.code != 0 || !strings.Contains(r.stdout, "squashfs") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	err := filepath.WalkDir(cache, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != ".lock" {
			t.Errorf("left: %s", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamagedComponentIsFetchedAgain: another program under a component's digest does not
// get into an image.
func TestDamagedComponentIsFetchedAgain(t *testing.T) {
	cache, dir := cacheCopy(t), outDir(t)
	program, err := os.ReadFile(setUp(t).program)
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int32
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		w.Write(program)
	}))
	defer upstream.Close()
	sum := fmt.Sprintf("%x", sha256.Sum256(program))
	outs := []string{filepath.Join(dir, "one.img"), filepath.Join(dir, "two.img")}
	for i, out := range outs {
		if r := imagebuilder(t, buildArgs(cache, out, "--component", "k3s="+upstream.URL+"/k3s#sha256="+sum)...); r.code != 0 {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		if n := served.Load(); int(n) != i+1 {
			t.Errorf("fetched %d times, want %d", n, i+1)
		}
		name := filepath.Join(cache, "sha256", sum[:2], sum)
		damage(t, name, middle(t, name))
		os.RemoveAll(filepath.Join(cache, "squashfs")) // packed blocks have what the file lost
	}
	sameFile(t, outs[0], outs[1])
}

func TestTwoBuildsShareACache(t *testing.T) {
	cache := cacheCopy(t)
	for _, name := range []string{"zstd", "bash", "systemd", "coreutils"} { // something to fight for
		forget(t, cache, packageNamed(t, name).SHA256)
	}
	if err := os.RemoveAll(filepath.Join(cache, "derived/kmod")); err != nil {
		t.Fatal(err)
	}
	dir := outDir(t)
	outs := []string{filepath.Join(dir, "one.img"), filepath.Join(dir, "two.img")}
	var both sync.WaitGroup
	for _, out := range outs {
		both.Go(func() {
			if r := imagebuilder(t, buildArgs(cache, out)...); r.code != 0 {
				t.Errorf("%s: exit code %d: %s", out, r.code, r.stderr)
			}
		})
	}
	both.Wait()
	for _, out := range outs {
		sameFile(t, setUp(t).image, out)
	}
}

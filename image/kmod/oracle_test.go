//go:build oracle

package kmod

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestOracleKernels judges the kernel packages that KERNELS names, whole and
// pruned to what a node needs, and prints how long each step takes.
func TestOracleKernels(t *testing.T) {
	pattern := os.Getenv("KERNELS")
	debs, err := filepath.Glob(pattern)
	if err != nil || len(debs) == 0 {
		t.Fatalf("KERNELS=%q names no packages (%v): run make oracle", pattern, err)
	}
	for _, deb := range debs {
		t.Run(filepath.Base(deb), func(t *testing.T) {
			dir := t.TempDir()
			run(t, nil, "dpkg-deb", "-x", deb, dir)
			if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil {
				t.Fatal(err)
			}
			tr := hostTree(t, dir)
			version := path.Base(tr.Children("usr/lib/modules")[0].Path)
			cache, err := fetch.OpenCache(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for _, state := range []string{"cold", "warm"} {
				copied := tree.New()
				for n := range tr.Walk() {
					if err := copied.Put(n); err != nil {
						t.Fatal(err)
					}
				}
				start := time.Now()
				m, err := open(t.Context(), copied, version, Options{Remember: cache.Remember})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := m.prune(nodeModules); err != nil {
					t.Fatal(err)
				}
				if err := m.depmod(testTime); err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: pruned and indexed in %v", state, time.Since(start))
			}
			if _, err := pruneTree(tr, version, nodeModules); err != nil {
				t.Fatal(err)
			}
			m, err := open(t.Context(), tr, version, Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("pruned to %d modules", len(m.files))
			judge(t, tr, version)
			var names []string
			for name := range m.files {
				names = append(names, name)
			}
			slices.Sort(names)
			askModprobe(t, tr, version, names)

			judge(t, hostTree(t, dir), version)
		})
	}
}

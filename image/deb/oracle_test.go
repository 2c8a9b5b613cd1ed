//go:build oracle

package deb

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// debs lists the real packages that DEBS names; see .ci/oracle.
func debs(t *testing.T) []string {
	t.Helper()
	pattern := os.Getenv("DEBS")
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("DEBS=%q names no packages (%v): run make oracle", pattern, err)
	}
	return paths
}

// TestOracleArchive judges real packages: those of the directory or glob that
// DEBS names, in one run that also prints the speed of decoding them all.
func TestOracleArchive(t *testing.T) {
	paths := debs(t)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, path := range paths {
		g.Go(func() error { judge(t, path); return nil })
	}
	g.Wait()
}

// TestOracleSpeed prints how long the packages of DEBS take, cold and warm.
func TestOracleSpeed(t *testing.T) {
	paths := debs(t)
	sums, sizes := map[string]string{}, map[string]int64{}
	for _, p := range paths {
		fi, err := os.Stat(p)
		must(t, err)
		sums[p], sizes[p] = fileSum(t, p), fi.Size()
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(sizes[b], sizes[a]) })
	c := openCache(t)
	for _, state := range []string{"cold", "warm"} {
		start := time.Now()
		var g errgroup.Group
		g.SetLimit(runtime.GOMAXPROCS(0))
		for _, p := range paths {
			g.Go(func() error {
				_, err := Decode(t.Context(), c, p, sums[p], progress.Discard)
				return err
			})
		}
		must(t, g.Wait())
		t.Logf("%s: %d packages in %v", state, len(paths), time.Since(start))
	}
}

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

	"github.com/going-mobile/imagebuilder/image/fetch"
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
	c := openCache(t)
	var files []*fetch.File
	for _, p := range debs(t) {
		files = append(files, download(t, c, p))
	}
	slices.SortFunc(files, func(a, b *fetch.File) int { return cmp.Compare(b.Size(), a.Size()) })
	for _, state := range []string{"cold", "warm"} {
		start := time.Now()
		var g errgroup.Group
		g.SetLimit(runtime.GOMAXPROCS(0))
		for _, f := range files {
			g.Go(func() error {
				_, err := Decode(t.Context(), c, f, progress.Discard)
				return err
			})
		}
		must(t, g.Wait())
		t.Logf("%s: %d packages in %v", state, len(files), time.Since(start))
	}
}

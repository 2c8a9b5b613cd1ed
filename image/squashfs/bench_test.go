//go:build linux

package squashfs_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// benchDir is the tree to pack: $SQUASHFS_BENCH_DIR, or the host's programs.
func benchDir() string {
	if dir := os.Getenv("SQUASHFS_BENCH_DIR"); dir != "" {
		return dir
	}
	return "/usr/bin"
}

// BenchmarkWrite packs a real tree, and again from a full cache, and lets mksquashfs do the same. Run it with -benchtime 3x.
func BenchmarkWrite(b *testing.B) {
	t, size := benchTree(b, benchDir())
	out := filepath.Join(b.TempDir(), "image")
	b.Run("cold", func(b *testing.B) {
		benchWrite(b, t, size, out, func() squashfs.Options { return squashfs.Options{} })
	})
	cacheDir := b.TempDir()
	cached := func() squashfs.Options { return squashfs.Options{Cache: openCache(b, cacheDir)} }
	if _, err := squashfs.Write(b.Context(), nowhere{}, t, cached()); err != nil {
		b.Fatal(err)
	}
	b.Run("warm", func(b *testing.B) { benchWrite(b, t, size, out, cached) })
	for _, level := range []int{3, 9} {
		b.Run(fmt.Sprintf("mksquashfs-%d", level), func(b *testing.B) { benchMksquashfs(b, level, size, out) })
	}
}

type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func benchWrite(b *testing.B, t *tree.Tree, size int64, out string, options func() squashfs.Options) {
	b.SetBytes(size)
	before := cpuTime(syscall.RUSAGE_SELF)
	for b.Loop() {
		f, err := os.Create(out)
		if err != nil {
			b.Fatal(err)
		}
		n, err := squashfs.Write(b.Context(), f, t, options())
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
		b.ReportMetric(float64(n)/1e6, "MB")
	}
	b.ReportMetric((cpuTime(syscall.RUSAGE_SELF)-before).Seconds()/float64(b.N), "cpu-s/op")
}

func benchMksquashfs(b *testing.B, level int, size int64, out string) {
	b.SetBytes(size)
	before := cpuTime(syscall.RUSAGE_CHILDREN)
	for b.Loop() {
		os.Remove(out)
		cmd := exec.Command("mksquashfs", benchDir(), out, "-comp", "zstd", "-Xcompression-level", fmt.Sprint(level), "-quiet", "-no-progress")
		if msg, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v (run make deps): %s", err, msg)
		}
		if info, err := os.Stat(out); err == nil {
			b.ReportMetric(float64(info.Size())/1e6, "MB")
		}
	}
	b.ReportMetric((cpuTime(syscall.RUSAGE_CHILDREN)-before).Seconds()/float64(b.N), "cpu-s/op")
}

func cpuTime(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchTree reads a directory with what matters for size and speed, and returns
// the bytes in it.
func benchTree(b *testing.B, dir string) (*tree.Tree, int64) {
	t := tree.New()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		n := &tree.Node{Path: filepath.ToSlash(rel), Mode: info.Mode(), ModTime: info.ModTime()}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			n.Link, err = os.Readlink(name)
		case info.Mode().IsRegular():
			n.Content, err = benchContent(name, info.Size())
		}
		if err != nil {
			return err
		}
		return t.Put(n)
	})
	if err != nil {
		b.Fatal(err)
	}
	return t, squashfs.DataSize(t)
}

func benchContent(name string, size int64) (tree.Content, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return tree.File(name, size, hex.EncodeToString(h.Sum(nil))), nil
}

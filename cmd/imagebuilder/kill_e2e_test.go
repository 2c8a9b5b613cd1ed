//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start runs a build in the background.
func start(t *testing.T, stderr *bytes.Buffer, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("imagebuilder", args...)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// halfWritten waits until a build is in the middle of its image.
func halfWritten(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		parts, _ := filepath.Glob(filepath.Join(dir, ".x.img.*.tmp"))
		for _, p := range parts {
			if fi, err := os.Stat(p); err == nil && fi.Size() > 1<<20 {
				return
			}
		}
	}
	t.Fatal("no image was begun")
}

// Ctrl-C leaves what was there before, and nothing else.
func TestInterruptLeavesNothing(t *testing.T) {
	interrupt := func(t *testing.T, cache string, wait func(dir string)) {
		dir := outDir(t)
		var stderr bytes.Buffer
		cmd := start(t, &stderr, buildArgs(cache, filepath.Join(dir, "x.img"))...)
		wait(dir)
		began := time.Now()
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("exit code %d, want %d: %s", code, exitInterrupted, &stderr)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v to stop", took)
		}
		if stderr.String() != "imagebuilder: interrupted; nothing half-written was left behind\n" {
			t.Errorf("standard error: %s", &stderr)
		}
		wantFiles(t, dir)
		if left, _ := filepath.Glob(filepath.Join(cache, "tmp", "deb-*")); len(left) > 0 {
			t.Errorf("left in the cache: %q", left)
		}
	}
	t.Run("while packing", func(t *testing.T) {
		cache := cacheCopy(t)
		os.RemoveAll(filepath.Join(cache, "squashfs"))
		interrupt(t, cache, func(dir string) { halfWritten(t, dir) })
	})
	t.Run("while decoding", func(t *testing.T) {
		cache := cacheCopy(t)
		os.RemoveAll(filepath.Join(cache, "derived/deb"))
		interrupt(t, cache, func(string) { time.Sleep(2 * time.Second) })
	})
	t.Run("while nobody answers", func(t *testing.T) {
		m := newBadMirror(t)
		asked := make(chan bool, 8)
		m.fault = func(w http.ResponseWriter, r *http.Request, _ int, _ func() []byte) bool {
			asked <- true
			<-r.Context().Done()
			return true
		}
		var stderr bytes.Buffer
		dir := outDir(t)
		cmd := start(t, &stderr, buildArgs(cacheCopy(t), filepath.Join(dir, "x.img"), m.args()...)...)
		<-asked
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("exit code %d: %s", code, &stderr)
		}
		wantFiles(t, dir)
	})
}

// Thirty builds die at random moments, in one directory and on one cache.
// What each finished is kept; the last one must not notice.
func TestThirtyKills(t *testing.T) {
	f, cache, dir := setUp(t), cacheCopy(t), outDir(t)
	out := filepath.Join(dir, "x.img")
	for _, sub := range []string{"derived/deb", "derived/kmod", "derived/apt-index", "squashfs"} {
		if err := os.RemoveAll(filepath.Join(cache, sub)); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	finished := 0
	for i := range 30 {
		var stderr bytes.Buffer
		cmd := start(t, &stderr, buildArgs(cache, out, "--force", "--compress", "gz")...)
		moment := 3 * time.Second
		if i >= 20 { // these die with the image, or the files beside it, half-written
			halfWritten(t, dir)
			moment = []time.Duration{time.Second, 6 * time.Second}[i%2]
		}
		time.Sleep(time.Duration(random.Int64N(int64(moment))))
		cmd.Process.Kill()
		if cmd.Wait() == nil {
			finished++
		}
		if stderr.Len() > 0 {
			t.Fatalf("not killed, but failed: %s", &stderr)
		}
		// Whatever has its name is whole.
		if _, err := os.Stat(out); err == nil {
			sameFile(t, f.image, out)
		}
	}
	t.Logf("%d of 30 were faster than their end", finished)
	builds(t, cache, out, "--force", "--compress", "gz")
	wantFiles(t, dir, "x.img", "x.img.bmap", "x.img.gz", "x.img.gz.sha256", "x.img.lock.json", "x.img.manifest.json", "x.img.provenance.json")
	for _, name := range []string{out, out + ".gz"} {
		if r := imagebuilder(t, "verify", "--quiet", name); r.code != 0 {
			t.Errorf("%s is not what lies beside it: %s", name, r.stderr)
		}
	}
	unfinished, err := filepath.Glob(filepath.Join(cache, "tmp", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range unfinished {
		if !strings.HasPrefix(filepath.Base(name), "sha256-") { // downloads to be resumed
			t.Errorf("left in the cache: %s", name)
		}
	}
}

// smallDisk mounts a disk of a few megabytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a small disk needs root to mount it: run the tests as root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	t.Run("of the image", func(t *testing.T) {
		disk := smallDisk(t, "20m")
		out := filepath.Join(disk, "x.img")
		refuses(t, cacheCopy(t), out, []string{"the disk of " + out + " is full", "no space left on device"})
	})
	t.Run("of the compressed image", func(t *testing.T) {
		var image syscall.Stat_t
		if err := syscall.Stat(setUp(t).image, &image); err != nil {
			t.Fatal(err)
		}
		disk := smallDisk(t, fmt.Sprint(image.Blocks*512+(20<<20)))
		out := filepath.Join(disk, "x.img")
		refuses(t, cacheCopy(t), out, []string{"the disk of " + out + " is full", "no space left on device"}, "--compress", "gz")
	})
	t.Run("of the cache", func(t *testing.T) {
		cache := smallDisk(t, "30m")
		refuses(t, cache, filepath.Join(outDir(t), "x.img"),
			[]string{"the disk of " + cache + " is full", "imagebuilder cache prune", "--cache"})
	})
}

//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/going-mobile/imagebuilder/image/lock"
)

// The tests with the tag e2e build real images with a Debian mirror behind
// them. They share one warm cache; each works on hard links to it, so entries
// are replaced here and never written to.

const testBoard = "generic-amd64"

// program stands in for the components: fetching the real ones is tested
// elsewhere, and building tailscaled takes minutes.
const program = "../../image/payload/bin/init-amd64"

// finished is one reference image and the cache that it left.
type finished struct {
	image, cache, program string
	lock                  *lock.Lock
	err                   error
}

var (
	scratch   string
	reference = sync.OnceValue(func() (f finished) {
		f.cache, f.image = filepath.Join(scratch, "cache"), filepath.Join(scratch, "ref.img")
		f.program = filepath.Join(scratch, "program") // a copy: make may build another
		data, err := os.ReadFile(program)
		if f.err = errors.Join(err, os.WriteFile(f.program, data, 0o755), warm(f.cache)); f.err != nil {
			return f
		}
		cmd := exec.Command("imagebuilder", buildArgs(f.cache, f.image, "--sbom")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			f.err = fmt.Errorf("reference image: %w\n%s", err, out)
			return f
		}
		f.lock, f.err = lock.Load(f.image + ".lock.json")
		return f
	})
)

// warm copies what the user's own cache has. Without one everything is
// fetched once.
func warm(to string) error {
	user, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	return linkCache(filepath.Join(user, "imagebuilder"), to)
}

// setUp returns the reference image, built by the first test that asks.
func setUp(t *testing.T) finished {
	t.Helper()
	f := reference()
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f
}

func runMain(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "imagebuilder-cli-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// linkCache makes a copy of a cache out of hard links, or of files where the
// copy is on another disk.
func linkCache(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, kind := range []string{"sha256", "derived", "index", "squashfs"} {
		src := filepath.Join(from, kind)
		if _, err := os.Stat(src); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if out, err := exec.Command("cp", "-al", src, to).CombinedOutput(); err != nil {
			os.RemoveAll(filepath.Join(to, kind))
			if out2, err := exec.Command("cp", "-a", src, to).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s%s", err, out, out2)
			}
		}
	}
	return nil
}

// cacheCopy is a cache of the test's own.
func cacheCopy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache")
	if err := linkCache(setUp(t).cache, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// outDir is where a test's image goes. It is empty.
func outDir(t *testing.T) string { return t.TempDir() }

func buildArgs(cache, out string, more ...string) []string {
	elf := filepath.Join(scratch, "program")
	return append([]string{"build", "--board", testBoard, "--cache", cache, "--out", out, "--quiet",
		"--component", "k3s=" + elf, "--component", "tailscale=" + elf}, more...)
}

// result is how a run of the program ended.
type result struct {
	code           int
	stdout, stderr string
}

func imagebuilder(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.Command("imagebuilder", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Nothing may come from the snapshot archive: faults would be healed.
	cmd.Env = append(os.Environ(), "https_proxy=http://127.0.0.1:1/", "HTTPS_PROXY=http://127.0.0.1:1/")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// builds runs a build that must succeed with the bytes of the reference.
func builds(t *testing.T, cache, out string, more ...string) {
	t.Helper()
	if r := imagebuilder(t, buildArgs(cache, out, more...)...); r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	sameFile(t, setUp(t).image, out)
}

// refuses runs a build that must fail with one error that has all the words,
// and leave nothing beside out.
func refuses(t *testing.T, cache, out string, words []string, more ...string) string {
	t.Helper()
	r := imagebuilder(t, buildArgs(cache, out, more...)...)
	if r.code != exitFailure || r.stdout != "" {
		t.Fatalf("exit code %d, standard output %q, standard error %q", r.code, r.stdout, r.stderr)
	}
	if problem := badError(r.stderr); problem != "" {
		t.Error(problem)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("the error does not say %q:\n%s", w, r.stderr)
		}
	}
	wantFiles(t, filepath.Dir(out))
	return r.stderr
}

// wantFiles compares the names in a directory, hidden ones too.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s has %q, want %q", dir, got, want)
	}
}

func sameFile(t *testing.T, want, got string) {
	t.Helper()
	a, b := open(t, want), open(t, got)
	bufA, bufB := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(bufA)) {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			t.Fatalf("%s differs from the reference after byte %d", got, at)
		}
		if errA != nil || errB != nil {
			return
		}
	}
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// packageNamed finds a package of the reference.
func packageNamed(t *testing.T, name string) lock.Package {
	t.Helper()
	for _, p := range setUp(t).lock.Packages {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("the reference has no package %s", name)
	panic("unreachable")
}

// forget removes a package from a cache.
func forget(t *testing.T, cache, sha256 string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cache, "derived/deb", sha256+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, filepath.Join(cache, "sha256", sha256[:2], sha256)) {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestPackageScripts tells stories about packages, against a real archive.
func TestPackageScripts(t *testing.T) {
	f := setUp(t)
	scripts(t, "testdata/e2e", func(env *testscript.Env) error {
		env.Setenv("PROGRAM", f.program)
		return linkCache(f.cache, filepath.Join(env.Getenv("XDG_CACHE_HOME"), "imagebuilder"))
	})
}

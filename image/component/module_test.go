package component_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// fakeGo behaves as the go command does: another version of itself where
// GOTOOLCHAIN says so, and no older one than the go.mod wants that lies where it runs.
// Its programs differ by version.
func fakeGo(t *testing.T, version string) string {
	t.Helper()
	elf := write(t, program(arm64, ""))
	name := filepath.Join(t.TempDir(), "go")
	script := `#!/bin/sh
version=${GOTOOLCHAIN:-` + version + `}
wanted=go$(sed -n 's/^go //p' go.mod 2>/dev/null)
[ -n "$GOTOOLCHAIN" ] || version=$(printf '%s\n' "$version" "$wanted" | sort -V | tail -n 1)
[ "$1" = build ] || { echo "$version"; exit; }
while [ "$1" != -o ]; do shift; done
{ cat ` + elf + `; echo "$version $GOOS $GOARCH"; } >"$2"
`
	if err := os.WriteFile(name, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// goLine is the oldest toolchain that compiles tailscale's module.
func goLine(t *testing.T) string {
	t.Helper()
	c, err := component.Find("tailscale")
	if err != nil {
		t.Fatal(err)
	}
	mod, _, err := c.ModuleFiles()
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(mod), "\ngo ")
	line, _, _ = strings.Cut(line, "\n")
	return "go" + line
}

// TestALockGetsTheToolchainOfTheFirstBuild builds with one Go and rebuilds, in
// another cache, where another Go is installed. What is noted is what compiled, not
// what the go command would be where the user happens to stand.
func TestALockGetsTheToolchainOfTheFirstBuild(t *testing.T) {
	t.Setenv("GOTOOLCHAIN", "")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("go.mod", []byte("module elsewhere\n\ngo 1.97.3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wanted := goLine(t)
	nothing := serve(t, nil)
	first, err := resolve(t, cache(t), "tailscale", "arm64", component.Options{Mirror: nothing.URL, Go: fakeGo(t, "go1.24.1")})
	if err != nil {
		t.Fatal(err)
	}
	pin := first.Pin()
	if pin.Source != component.FromModule || pin.Toolchain != wanted || !strings.HasPrefix(pin.Module, "tailscale.com@v") {
		t.Fatalf("pinned as %+v", pin)
	}
	pins := map[string]component.Pin{"tailscale": pin}
	again, err := resolve(t, cache(t), "tailscale", "arm64", component.Options{Pins: pins, Go: fakeGo(t, "go1.98.0")})
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256 != first.SHA256 || again.Toolchain != first.Toolchain {
		t.Errorf("rebuilt with %s: %s, want %s", again.Toolchain, again.SHA256, first.SHA256)
	}

	pin.SHA256 = strings.Repeat("0", 64)
	pins["tailscale"] = pin
	if _, err = resolve(t, cache(t), "tailscale", "arm64", component.Options{Pins: pins, Go: fakeGo(t, "go1.25.0")}); err == nil || !strings.Contains(err.Error(), "the lock wants 000") {
		t.Errorf("other bytes than the lock's: %v", err)
	}
}

// TestALockThatNotesTooOldAToolchain was written where go.mod wanted another than the
// module's does: the one that can have compiled it does so again.
func TestALockThatNotesTooOldAToolchain(t *testing.T) {
	t.Setenv("GOTOOLCHAIN", "")
	first, err := resolve(t, cache(t), "tailscale", "arm64", component.Options{Mirror: serve(t, nil).URL, Go: fakeGo(t, "go1.24.4")})
	if err != nil {
		t.Fatal(err)
	}
	pin := first.Pin()
	pin.Toolchain = "go1.24.4"
	opt := component.Options{Pins: map[string]component.Pin{"tailscale": pin}, Go: fakeGo(t, "go1.98.0")}
	again, err := resolve(t, cache(t), "tailscale", "arm64", opt)
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256 != first.SHA256 || again.Toolchain != goLine(t) {
		t.Errorf("rebuilt with %s: %s, want %s", again.Toolchain, again.SHA256, first.SHA256)
	}
}

// stages notes which work was told of.
type stages struct {
	progress.Reporter
	names []string
}

func (s *stages) Start(stage, name string, total int64) progress.Task {
	s.names = append(s.names, stage+" "+name)
	return progress.Discard.Start(stage, name, total)
}

// TestWhyThereIsNoToolchain: an older Go fetches the one that go.mod wants as soon as it
// is asked for its version. That this takes time is told, and why it fails; a disk that is
// full is no reason to leave it to the node, a Go that does not start is.
func TestWhyThereIsNoToolchain(t *testing.T) {
	fails := func(script string) (*component.Resolved, *stages, error) {
		name := filepath.Join(t.TempDir(), "go")
		if err := os.WriteFile(name, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		s := &stages{}
		r, err := resolve(t, cache(t), "tailscale", "arm64", component.Options{Mirror: serve(t, nil).URL, Go: name, Progress: s})
		return r, s, err
	}
	r, s, err := fails("#!/bin/sh\necho \"go: downloading go1.26.6\ngo: download go1.26.6: no route\" >&2; exit 1\n")
	if err != nil || !strings.HasSuffix(r.Reason, "go env GOVERSION: exit status 1: go: download go1.26.6: no route") {
		t.Errorf("%v: %+v", err, r)
	}
	if !slices.ContainsFunc(s.names, func(n string) bool { return strings.HasPrefix(n, "compile Go for tailscale.com@v") }) {
		t.Errorf("told of %q", s.names)
	}
	_, _, err = fails("#!/bin/sh\necho 'go: write /x: no space left on device' >&2; echo more >&2; exit 1\n")
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "go: write /x: no space") || !strings.Contains(err.Error(), "'go env GOCACHE GOMODCACHE'") {
		t.Errorf("a full disk: %v", err)
	}
	if r, _, err := fails("#!/nowhere/sh\n"); err != nil || !r.Deferred {
		t.Errorf("a Go that does not start: %v", err)
	}
}

// TestGoWorksInTheCache, whose unfinished files the next run removes if this one is killed.
func TestGoWorksInTheCache(t *testing.T) {
	c := cache(t)
	name := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(name, []byte("#!/bin/sh\ntest -f go.mod && touch \"$GOTMPDIR/x\" && echo \"$GOTMPDIR\" >&2; exit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := resolve(t, c, "tailscale", "arm64", component.Options{Mirror: serve(t, nil).URL, Go: name})
	if err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(c.Dir(), "scratch")
	if _, at, _ := strings.Cut(r.Reason, "exit status 1: "); !strings.HasPrefix(at, tmp) {
		t.Errorf("%q is not in %s", at, tmp)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

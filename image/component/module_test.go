package component_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/component"
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

// TestALockGetsTheToolchainOfTheFirstBuild builds with one Go and rebuilds, in
// another cache, where another Go is installed. What is noted is what compiled, not
// what the go command would be where the user happens to stand.
func TestALockGetsTheToolchainOfTheFirstBuild(t *testing.T) {
	t.Setenv("GOTOOLCHAIN", "")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("go.mod", []byte("module elsewhere\n\ngo 1.97.3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := component.Find("tailscale")
	if err != nil {
		t.Fatal(err)
	}
	mod, _, err := c.ModuleFiles()
	if err != nil {
		t.Fatal(err)
	}
	_, wanted, _ := strings.Cut(string(mod), "\ngo ")
	wanted, _, _ = strings.Cut(wanted, "\n")
	nothing := serve(t, nil)
	first, err := resolve(t, cache(t), "tailscale", "arm64", component.Options{Mirror: nothing.URL, Go: fakeGo(t, "go1.24.1")})
	if err != nil {
		t.Fatal(err)
	}
	pin := first.Pin()
	if pin.Source != component.FromModule || pin.Toolchain != "go"+wanted || !strings.HasPrefix(pin.Module, "tailscale.com@v") {
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

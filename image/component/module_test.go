package component_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/component"
)

// fakeGo behaves as the go command does: another version of itself where
// GOTOOLCHAIN says so. Its programs differ by version.
func fakeGo(t *testing.T, version string) string {
	t.Helper()
	elf := write(t, program(arm64, ""))
	name := filepath.Join(t.TempDir(), "go")
	script := `#!/bin/sh
version=${GOTOOLCHAIN:-` + version + `}
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
// another cache, where another Go is installed.
func TestALockGetsTheToolchainOfTheFirstBuild(t *testing.T) {
	t.Setenv("GOTOOLCHAIN", "")
	nothing := serve(t, nil)
	first, err := resolve(t, cache(t), "tailscale", "arm64", component.Options{Mirror: nothing.URL, Go: fakeGo(t, "go1.24.1")})
	if err != nil {
		t.Fatal(err)
	}
	pin := first.Pin()
	if pin.Source != component.FromModule || pin.Toolchain != "go1.24.1" || !strings.HasPrefix(pin.Module, "tailscale.com@v") {
		t.Fatalf("pinned as %+v", pin)
	}
	pins := map[string]component.Pin{"tailscale": pin}
	again, err := resolve(t, cache(t), "tailscale", "arm64", component.Options{Pins: pins, Go: fakeGo(t, "go1.25.0")})
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

//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestACompilerHoldsNothingUp uses a Go toolchain that does not finish before a package has
// been fetched and decoded.
func TestACompilerHoldsNothingUp(t *testing.T) {
	cache, dir, zstd := cacheCopy(t), t.TempDir(), packageNamed(t, "zstd")
	forget(t, cache, zstd.SHA256)
	if err := os.RemoveAll(filepath.Join(cache, "derived/component")); err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
[ "$1" = build ] || { echo go1.26.6; exit; }
while [ "$1" != -o ]; do shift; done
for i in $(seq 600); do
	ls ` + filepath.Join(cache, "derived/deb", zstd.SHA256) + `*.sum && exec cp ` + setUp(t).program + ` "$2"
	sleep 0.1
done
echo "zstd is still not decoded" >&2
exit 1
`
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	out := filepath.Join(outDir(t), "x.img")
	r := imagebuilder(t, "build", "--board", testBoard, "--cache", cache, "--out", out, "--component", "k3s="+setUp(t).program)
	if r.code != 0 || !strings.Contains(r.stdout, "built from tailscale.com@v") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
}

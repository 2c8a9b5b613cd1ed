//go:build linux

package headscaletest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Pebble compiles Pebble, Let's Encrypt's ACME server for tests, and returns the program. It
// needs a version that announces the certificate's URL in advance, as Let's Encrypt does. No
// standard requires that, but Headscale gets no certificate without it (golang/go#77704,
// x/crypto 0.53).
func Pebble(t testing.TB) string {
	t.Helper()
	mod, sum := pinned(t, "pebble")
	return compile(t, "github.com/letsencrypt/pebble/v2/cmd/pebble", mod, sum)
}

// pinned reads the go.mod and go.sum of a module below the directory testserver.
func pinned(t testing.TB, name string) (mod, sum []byte) {
	t.Helper()
	here, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(string(here)), "image/headscale/testserver", name)
	for file, text := range map[string]*[]byte{"go.mod": &mod, "go.sum": &sum} {
		if *text, err = os.ReadFile(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	return mod, sum
}

//go:build linux

package headscaletest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Pebble compiles Let's Encrypt's own authority for tests. It is of a version that
// says where a certificate will be, as Let's Encrypt does: without that, which no
// standard wants, Headscale gets none (golang/go#77704, x/crypto 0.53).
func Pebble(t testing.TB) string {
	t.Helper()
	mod, sum := pinned(t, "pebble")
	return compile(t, "github.com/letsencrypt/pebble/v2/cmd/pebble", mod, sum)
}

// pinned reads a module of the directory testserver.
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

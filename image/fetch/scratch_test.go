package fetch

import (
	"os"
	"path/filepath"
	"testing"
)

// TestScratch: a command's large files stay for as long as it runs, whatever others do with
// the cache, and those of a killed command are removed.
func TestScratch(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", home)
	t.Setenv("TMPDIR", filepath.Join(home, "none"))
	dir, remove, err := Scratch("run")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can read it: %v, %v", info, err)
	}
	killed := filepath.Join(filepath.Dir(dir), "run-killed")
	for _, d := range []string{dir, killed} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "disk.img"), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := OpenCache("")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := os.Stat(killed); err == nil {
		t.Error("what a killed command has left is there")
	}
	if removed, err := c.Prune(Policy{All: true}); err != nil || len(removed) > 0 {
		t.Errorf("pruned: %v, %v", removed, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "disk.img")); err != nil {
		t.Error(err)
	}
	remove()
	for _, d := range []string{scratchDir, lockDir} {
		if left, _ := os.ReadDir(filepath.Join(c.Dir(), d)); len(left) > 0 {
			t.Errorf("left in %s: %v", d, left)
		}
	}
}

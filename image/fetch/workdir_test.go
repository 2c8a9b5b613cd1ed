package fetch

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAWorkDirOfAKilledProcessIsRemoved by the next one; that of a running one is left alone.
func TestAWorkDirOfAKilledProcessIsRemoved(t *testing.T) {
	at := t.TempDir()
	open := func() *Cache {
		t.Helper()
		c, err := OpenCache(at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dir, remove, err := open().WorkDir(t.Context(), "work", "a")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "b", "c")
	write := func() {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	open()
	if _, err := os.Stat(file); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
	remove()
	write() // as a killed process leaves it
	open()
	if left, err := os.ReadDir(filepath.Join(at, tmpDir)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	write()
	if dir, remove, err = open().WorkDir(t.Context(), "work", "a"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("not empty: %v, %v", left, err)
	}
	remove()
}

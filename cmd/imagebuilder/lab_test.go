package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOccupy: a lab has its directory for itself, and nothing is left of it.
func TestOccupy(t *testing.T) {
	top := t.TempDir()
	f := labFlags{dir: filepath.Join(top, "lab")}
	release, err := f.occupy()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(f.dir, "machines"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.occupy(); err == nil || !strings.Contains(err.Error(), "a lab runs in") {
		t.Errorf("a second one: %v", err)
	}
	release()
	if left, err := os.ReadDir(top); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if release, err = f.occupy(); err != nil {
		t.Fatal(err)
	}
	release()
}

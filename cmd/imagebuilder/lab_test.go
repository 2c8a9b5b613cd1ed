package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
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

// TestOccupyAlone: who lets the directory go takes no lock away but its own.
func TestOccupyAlone(t *testing.T) {
	f := labFlags{dir: filepath.Join(t.TempDir(), "lab")}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := 0; n < 200; {
				release, err := f.occupy()
				if err != nil && strings.Contains(err.Error(), "a lab runs in") {
					time.Sleep(10 * time.Microsecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
				if _, err := os.Stat(f.dir + ".lock"); err != nil {
					t.Errorf("whoever comes next believes the directory free: %v", err)
				}
				release()
				n++
			}
		})
	}
	all.Wait()
}

package flock

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestSharedAndExclusive(t *testing.T) {
	name := filepath.Join(t.TempDir(), "l")
	a, b := open(t, name), open(t, name)
	try := func(what string, f func(*os.File) (bool, error), on *os.File, want bool) {
		t.Helper()
		if ok, err := f(on); err != nil || ok != want {
			t.Errorf("%s: %v, %v; want %v", what, ok, err, want)
		}
	}
	try("a shared", TryShared, a, true)
	try("b shared", TryShared, b, true)
	try("a exclusive beside b", TryExclusive, a, false)
	b.Close()
	try("a exclusive", TryExclusive, a, true)
	c := open(t, name)
	try("c shared beside a", TryShared, c, false)
	try("a back to shared", TryShared, a, true)
	try("c shared", TryShared, c, true)
}

// Release unlinks the file that others are about to lock: nobody may hold a
// lock that the next one cannot see.
func TestTryPathExcludes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "l")
	var inside, entered atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; n < 200; {
				f, ok, err := TryPath(name)
				if err != nil {
					t.Error(err)
					return
				}
				if !ok {
					time.Sleep(10 * time.Microsecond)
					continue
				}
				if inside.Add(1) != 1 {
					t.Error("two inside")
				}
				entered.Add(1)
				inside.Add(-1)
				Release(f)
				n++
			}
		})
	}
	wg.Wait()
	if n := entered.Load(); n != 1600 {
		t.Errorf("entered %d times", n)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("the lock file is left")
	}
}

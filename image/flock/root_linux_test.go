package flock

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestALockOfRoots in somebody's directory keeps that one out while root holds it, and no
// longer, whatever root's umask was.
func TestALockOfRoots(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root has what others have not: run the tests as root")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, 1000, 1000)); err != nil { // the test's own is root's alone
		t.Fatal(err)
	}
	name := filepath.Join(dir, "l")
	before := unix.Umask(0o077)
	held, ok, err := TryPath(name)
	unix.Umask(before)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	runtime.LockOSThread() // never unlocked: the thread, which is the user's for files, ends with the test
	if err := unix.Setfsuid(1000); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setfsuid(0) }()
	if _, ok, err := TryPath(name); ok || err != nil {
		t.Errorf("beside root: %v, %v", ok, err)
	}
	held.Close() // as when it is killed: the file stays
	f, ok, err := TryPath(name)
	if err != nil || !ok {
		t.Fatalf("after root: %v, %v", ok, err)
	}
	Release(f)
	if _, err := os.Stat(name); err == nil {
		t.Error("the lock file is left")
	}
}

package flock

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/image/flock/flocktest"
)

// TestALockOfRoots in somebody's directory keeps that one out while root holds it, and no
// longer, whatever root's umask was.
func TestALockOfRoots(t *testing.T) {
	dir := flocktest.UsersDir(t)
	name := filepath.Join(dir, "l")
	before := unix.Umask(0o077)
	held, ok, err := TryPath(name)
	unix.Umask(before)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	flocktest.BeUser(t)
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

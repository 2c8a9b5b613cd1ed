// Package flocktest lets a test of root be somebody else for files, as a user is who finds
// what an interrupted sudo has left.
package flocktest

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// user is anybody but root.
const user = 1000

// UsersDir is a new directory of the user's, who can come there.
func UsersDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("only root has what others have not: run the tests as root")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, user, user)); err != nil { // the test's own is root's alone
		t.Fatal(err)
	}
	return dir
}

// BeUser makes the rest of the test the user's as far as files go: setfsuid(2).
func BeUser(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Setfsuid(user); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setfsuid(0) })
}

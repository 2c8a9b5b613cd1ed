// Package flock takes advisory locks on open files: flock(2) where there is
// one, LockFileEx on Windows. A lock ends with its file descriptor, so a
// killed process never leaves one behind.
//
// It does not wait: callers that want to wait poll, since a blocked flock can
// be neither cancelled nor timed out.
package flock

import (
	"errors"
	"io/fs"
	"os"
)

// TryExclusive locks f against every other open of the same file, also those
// of this process. It reports false when someone else holds a lock.
func TryExclusive(f *os.File) (bool, error) { return try(f, true) }

// TryShared locks f against exclusive locks only. It reports false when
// someone else holds an exclusive lock. A lock that f already holds is
// converted.
func TryShared(f *os.File) (bool, error) { return try(f, false) }

// TryPath creates the file name if it is absent and locks it exclusively.
// With ok false the file is locked elsewhere. The caller ends the lock with
// Release.
func TryPath(name string) (f *os.File, ok bool, err error) {
	if f, err = openLock(name); err != nil {
		return nil, false, err
	}
	ok, err = TryExclusive(f)
	// The holder before us unlinked the name on release: what we locked may
	// be a file that nobody else can reach any more.
	if err == nil && ok && same(f, name) {
		return f, true, nil
	}
	f.Close()
	return nil, false, err
}

// openLock makes the file, or opens it also where it is somebody else's: what root left under
// sudo in a user's directory that user cannot write to, but lock, and remove.
func openLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		_ = f.Chmod(0o644) // whatever the umask says: who may not read it cannot lock it
		return f, nil
	}
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	}
	if errors.Is(err, fs.ErrPermission) {
		if r, failed := os.Open(name); failed == nil {
			return r, nil
		}
	}
	return f, err
}

// Release removes the file that TryPath locked and ends the lock, in the
// order that the platform allows.
func Release(f *os.File) { release(f) }

func same(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(name)
	return err == nil && os.SameFile(a, b)
}

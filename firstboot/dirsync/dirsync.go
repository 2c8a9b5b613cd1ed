// Package dirsync makes changes of names in a directory durable: files that were created, renamed
// or removed there, and files that were replaced.
//
// It is a leaf, used by builder and node. It ignores that a file system has no fsync for
// directories, as some network and FUSE file systems: nobody could do more there.
package dirsync

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// Replace replaces the file name, or makes it, as a whole or not at all; when it returns without an
// error, the file is on the disk. Until then write fills another one, next, in the same directory;
// one that a power cut has left there is removed. Only its owner can read the file, unless write
// changes that.
func Replace(next, name string, write func(*os.File) error) error {
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // no symlink of somebody else's is followed
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, name); err != nil {
		return err
	}
	return Dir(filepath.Dir(name))
}

// syncDir is changed by tests.
var syncDir = (*os.File).Sync

// Dir syncs a directory: when it returns, the names in it are on the disk. On Windows it does
// nothing.
func Dir(name string) error {
	if runtime.GOOS == "windows" { // Windows cannot sync a directory
		return nil
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(done(syncDir(d)), d.Close())
}

// done ignores the error of a file system that has no fsync for directories.
func done(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

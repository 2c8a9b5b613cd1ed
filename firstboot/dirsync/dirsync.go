// Package dirsync makes changes of names in a directory durable: files that were created, renamed
// or removed there.
//
// It is a leaf, used by builder and node. It ignores that a file system has no fsync for
// directories, as some network and FUSE file systems: nobody could do more there.
package dirsync

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

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
	return errors.Join(done(d.Sync()), d.Close())
}

// done ignores the error of a file system that has no fsync for directories.
func done(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// Package dirsync makes what happened to the names in a directory durable: files that
// were made, renamed or removed there.
//
// It is a leaf, for both sides. It refuses no file system that has no fsync for
// directories, as some of the network and of FUSE: nobody could do more there.
package dirsync

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// Dir returns when that is on the disk.
func Dir(name string) error {
	if runtime.GOOS == "windows" { // which has it for no directory
		return nil
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(done(d.Sync()), d.Close())
}

// done forgives a file system that has nothing to do.
func done(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

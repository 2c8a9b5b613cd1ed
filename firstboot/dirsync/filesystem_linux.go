package dirsync

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// FileSystem syncs the whole file system that name is on, the content of files included: syncfs(2).
func FileSystem(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

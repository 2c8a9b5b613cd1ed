package dirsync

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// FileSystem returns when all of the one that name is on is on the disk, what is in files
// as well: syncfs(2).
func FileSystem(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

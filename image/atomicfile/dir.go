package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// MkdirAll makes a directory and its missing parents. What root makes is given to the owner
// of the directory in which it is made, as with files: otherwise a user who needed sudo
// once would need it always.
func MkdirAll(dir string, perm fs.FileMode) error {
	dir = filepath.Clean(dir)
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	switch err := os.Mkdir(dir, perm); {
	case errors.Is(err, fs.ErrExist): // another process was faster, or it is not a directory
		return os.MkdirAll(dir, perm)
	case err != nil:
		return err
	}
	return prepareDir(dir, perm)
}

// MkdirTemp is os.MkdirTemp, with the owner as in MkdirAll.
func MkdirTemp(dir, pattern string) (string, error) {
	name, err := os.MkdirTemp(dir, pattern)
	if err == nil {
		err = prepareDir(name, 0o700)
	}
	return name, err
}

// prepareDir gives a directory that was just made its owner and, on Windows, its
// permissions. It removes the directory if that fails.
func prepareDir(name string, perm fs.FileMode) error {
	inheritDir(name)
	err := restrict(name, perm, true)
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// Inherit gives a permanent file that root has made to the owner of its directory.
func Inherit(f *os.File) { inherit(f, filepath.Dir(f.Name())) }

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// MkdirAll makes a directory and all that lead to it. What root makes belongs, as files do,
// to the owner of the directory in which it begins: who needed sudo once needs it for that
// once.
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
	case errors.Is(err, fs.ErrExist): // another process was faster, or it is no directory
		return os.MkdirAll(dir, perm)
	case err != nil:
		return err
	}
	inheritDir(dir)
	return nil
}

// MkdirTemp is os.MkdirTemp, with the same owner.
func MkdirTemp(dir, pattern string) (string, error) {
	name, err := os.MkdirTemp(dir, pattern)
	if err == nil {
		inheritDir(name)
	}
	return name, err
}

// Inherit gives a file that root has made, and that stays, to the owner of its directory.
func Inherit(f *os.File) { inherit(f, filepath.Dir(f.Name())) }

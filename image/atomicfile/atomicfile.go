// Package atomicfile writes a file so that its name always has either the old content or
// all of the new content, whatever happens in between: it writes a temporary file in the
// same directory, then does fsync, rename, and fsync of the directory.
//
// It refuses to replace anything that is not a regular file, such as a device.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
	"github.com/going-mobile/imagebuilder/image/flock"
)

// File is a file being written under a temporary name. It is written like any *os.File;
// Commit then gives it its name, or Close drops it.
type File struct {
	*os.File
	name string
	done bool
}

// Create begins the replacement of name. The finished file will have exactly the
// permissions perm, regardless of the umask. A file that root writes is given to the owner
// of the directory, who under sudo is the user who needs it next. Create removes what
// killed writers of the same name left behind.
func Create(name string, perm fs.FileMode) (*File, error) {
	if err := replaceable(name); err != nil {
		return nil, err
	}
	sweep(name)
	f, err := create(name)
	if err != nil {
		return nil, err
	}
	inherit(f.File, filepath.Dir(name))
	if err := f.Chmod(perm); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Target is the name that the file gets by Commit.
func (f *File) Target() string { return f.name }

// Ready syncs the content and checks that the name can still be replaced. For files that
// belong together, call Ready for all of them before the first Commit: most errors then
// occur while all old files still exist.
func (f *File) Ready() error {
	if err := f.Sync(); err != nil {
		return f.told(err)
	}
	return replaceable(f.name)
}

// Commit syncs the content and gives the file its name. On an error the temporary file is
// removed and the name is unchanged, except when only the final sync of the directory
// fails.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("commit %s: %w", f.name, os.ErrClosed)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return f.told(err)
	}
	f.done = true
	// Windows can rename only closed files.
	if err := f.File.Close(); err != nil {
		os.Remove(f.File.Name())
		return f.told(err)
	}
	if err := os.Rename(f.File.Name(), f.name); err != nil {
		os.Remove(f.File.Name())
		return f.told(err)
	}
	return dirsync.Dir(filepath.Dir(f.name))
}

// Write is like os.File.Write, but its errors have the target's name.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.told(err)
}

// told replaces the temporary name in an error by the target's name, which is the one that
// the user knows.
func (f *File) told(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return &fs.PathError{Op: path.Op, Path: f.name, Err: path.Err}
	case errors.As(err, &link):
		return &fs.PathError{Op: link.Op, Path: f.name, Err: link.Err}
	}
	return err
}

// Close drops the content unless it was committed. It may be deferred, and called any
// number of times.
func (f *File) Close() error {
	if f.done {
		return nil
	}
	f.done = true
	return errors.Join(f.File.Close(), os.Remove(f.File.Name()))
}

// WriteFile replaces the content of name with data.
func WriteFile(name string, data []byte, perm fs.FileMode) error {
	f, err := Create(name, perm)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

func replaceable(name string) error {
	fi, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return fmt.Errorf("%s is a directory; name a file", name)
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%s is a device or another special file; name a regular file", name)
	}
	return nil
}

// create opens a temporary file and locks it, so that sweep in another process does not
// remove it.
func create(name string) (*File, error) {
	dir, pattern := filepath.Dir(name), prefix(name)+"*"+suffix
	for {
		f, err := os.CreateTemp(dir, pattern)
		if err != nil {
			return nil, explain(name, err)
		}
		if ok, err := flock.TryExclusive(f); err != nil || ok && exists(f.Name()) {
			// On a file system without locks, nothing is swept, but writing works.
			return &File{File: f, name: name}, nil
		}
		// Another process swept the file before it was locked.
		f.Close()
	}
}

// explain says why name cannot be created.
func explain(name string, err error) error {
	var path *fs.PathError
	if !errors.As(err, &path) {
		return err
	}
	dir := filepath.Dir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: the directory %s is not there: %w", name, dir, path.Err)
	}
	return fmt.Errorf("write %s: nothing can be written into the directory %s: %w", name, dir, path.Err)
}

const suffix = ".tmp"

func prefix(name string) string { return "." + filepath.Base(name) + "." }

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// sweep removes the temporary files of writers that have ended.
func sweep(name string) {
	dir := filepath.Dir(name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix(name))
		if ok && strings.HasSuffix(rest, suffix) && digits(strings.TrimSuffix(rest, suffix)) && e.Type().IsRegular() {
			sweepOne(filepath.Join(dir, e.Name()))
		}
	}
}

func sweepOne(name string) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	if ok, err := flock.TryExclusive(f); err != nil || !ok {
		f.Close()
		return
	}
	flock.Release(f)
}

// digits protects the user's own files: os.CreateTemp fills its pattern with decimal digits
// only.
func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

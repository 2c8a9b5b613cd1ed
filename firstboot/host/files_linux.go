package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
)

// Files is the file system below Root.
type Files struct{ Root string }

func (f Files) at(name string) string { return filepath.Join(f.Root, name) }

// Open opens a file for reading.
func (f Files) Open(name string) (io.ReadCloser, error) { return os.Open(f.at(name)) }

// Stat follows symbolic links.
func (f Files) Stat(name string) (fs.FileInfo, error) { return os.Stat(f.at(name)) }

// Readlink returns the target of a symbolic link.
func (f Files) Readlink(name string) (string, error) { return os.Readlink(f.at(name)) }

// List returns the sorted names in a directory; none if it is absent.
func (f Files) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(f.at(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// Put replaces a file durably and atomically. The unfinished file has a fixed name, so that the
// next try removes what a power cut left.
func (f Files) Put(name string, r io.Reader, a firstboot.Attr) error {
	path := f.at(name)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, firstboot.Unfinished+filepath.Base(path))
	return dirsync.Replace(tmp, path, func(out *os.File) error {
		_, err := io.Copy(out, r)
		if err == nil {
			err = out.Chmod(a.Mode) // despite the umask
		}
		if err == nil && (a.UID != 0 || a.GID != 0) {
			err = out.Chown(a.UID, a.GID)
		}
		return err
	})
}

// Sync writes the whole file system that name is on to its medium.
func (f Files) Sync(name string) error {
	return dirsync.FileSystem(f.at(name))
}

// Overwrite overwrites a file in place and syncs it, on a partition that may be mounted read-only.
// FAT keeps the file's clusters, so the old content is gone from the medium, as far as its
// controller allows.
func (f Files) Overwrite(name string, data []byte) error {
	path := f.at(name)
	alone, err := lockDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer alone.Close()
	restore, err := writable(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(overwrite(path, data), restore())
}

// lockDir keeps other processes of ours out while a file system is writable: one of them would
// otherwise make it read-only under the other.
func lockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	return d, nil
}

func overwrite(path string, data []byte) error {
	out, err := os.OpenFile(path, os.O_RDWR|unix.O_SYNC, 0)
	if err != nil {
		return err
	}
	fi, err := out.Stat()
	if err == nil && int64(len(data)) > fi.Size() {
		err = fmt.Errorf("%s: %d bytes do not fit into its %d", path, len(data), fi.Size())
	}
	if err == nil {
		_, err = out.WriteAt(data, 0)
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// writable makes the file system of dir writable until restore is called.
func writable(dir string) (restore func() error, err error) {
	nothing := func() error { return nil }
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Flags&unix.ST_RDONLY == 0 {
		return nothing, err
	}
	keep := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|keep, ""); err != nil {
		return nothing, fmt.Errorf("%s is read-only: %w", dir, err)
	}
	return func() error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|keep, "") }, nil
}

// Rename moves a file durably to another name, and replaces what has that name.
func (f Files) Rename(name, to string) error {
	if err := os.Rename(f.at(name), f.at(to)); err != nil {
		return err
	}
	return dirsync.Dir(filepath.Dir(f.at(to)))
}

// Symlink makes or replaces a symbolic link, durably.
func (f Files) Symlink(target, name string) error {
	path := f.at(name)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, firstboot.Unfinished+filepath.Base(path))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return dirsync.Dir(dir)
}

// Remove deletes a file; it is no error if the file does not exist.
func (f Files) Remove(name string) error {
	if err := os.Remove(f.at(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Space returns the size of a file system and how much of it is still free, in bytes.
func (f Files) Space(name string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(f.at(name), &st); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

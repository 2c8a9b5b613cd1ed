//go:build linux

package attic

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyTree copies a file or a directory with everything that overlayfs and security need: owners,
// modes, times, extended attributes, and the device nodes that stand for deleted files. It skips
// sockets and pipes, whose processes are gone.
func (a Attic) copyTree(from, to string) error {
	if err := a.step("copy " + from); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := a.copyContent(from, to, &st); err != nil || !copied(&st) {
		return err
	}
	return copyMeta(from, to, &st)
}

func copied(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT != unix.S_IFSOCK && st.Mode&unix.S_IFMT != unix.S_IFIFO
}

func (a Attic) copyContent(from, to string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return copyFile(from, to)
	case unix.S_IFDIR:
		return a.copyDir(from, to)
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case unix.S_IFCHR, unix.S_IFBLK:
		if err := unix.Mknod(to, st.Mode, int(st.Rdev)); err != nil {
			return &fs.PathError{Op: "mknod", Path: to, Err: err}
		}
	}
	return nil
}

func (a Attic) copyDir(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := a.copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeFile(to, in)
}

// writeFile leaves holes for blocks of zeros: etcd preallocates 64 MB of them at the end of each
// log.
func writeFile(name string, r io.Reader) error {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	size, buf := int64(0), make([]byte, 64<<10)
	for {
		n, readErr := io.ReadFull(r, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			_, err = out.WriteAt(buf[:n], size)
		}
		size += int64(n)
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if err = errors.Join(err, readErr); err != nil {
			break
		}
	}
	return errors.Join(err, out.Truncate(size), out.Close())
}

var zeros [64 << 10]byte

// copyMeta comes last: a directory's time changes when entries are made in it.
func copyMeta(from, to string, st *unix.Stat_t) error {
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyXattrs(from, to); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK { // after chown, which clears setuid
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: to, Err: err}
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW)
}

func copyXattrs(from, to string) error {
	list := make([]byte, 64<<10) // the most that listxattr(2) returns
	n, err := unix.Llistxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "listxattr", Path: from, Err: err}
	}
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(bytes.TrimRight(list[:n], "\x00"), []byte{0}) {
		if len(name) == 0 {
			continue
		}
		size, err := unix.Lgetxattr(from, string(name), value)
		if err == nil {
			err = unix.Lsetxattr(to, string(name), value[:size], 0)
		}
		if err != nil {
			return &fs.PathError{Op: "copy " + string(name), Path: from, Err: err}
		}
	}
	return nil
}

package dirsync

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestDir: a missing directory and a failing disk are errors; a file system that has no fsync for
// directories is not.
func TestDir(t *testing.T) {
	if err := Dir(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := Dir(filepath.Join(t.TempDir(), "none")); runtime.GOOS != "windows" && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for err, want := range map[error]error{nil: nil, syscall.EINVAL: nil, syscall.ENOTSUP: nil, syscall.EIO: syscall.EIO, syscall.ENOSPC: syscall.ENOSPC} {
		if err != nil {
			err = &fs.PathError{Op: "sync", Path: "d", Err: err}
		}
		if got := done(err); !errors.Is(got, want) || want == nil && got != nil {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// TestReplace: a file is replaced as a whole or not at all, whatever a power cut has left beside
// it, and also where a file system has no fsync for directories. A disk that fails is told.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	name, next := filepath.Join(dir, "copy"), filepath.Join(dir, ".copy")
	full := errors.New("no space left")
	defer func() { syncDir = (*os.File).Sync }()
	for _, c := range []struct {
		what, text, then  string
		write, sync, want error
	}{
		{what: "a new one", text: "first", then: "first"},
		{what: "a full disk", text: "sec", then: "first", write: full, want: full},
		{what: "no fsync for directories", text: "second", then: "second", sync: syscall.EINVAL},
		{what: "nor in another way", text: "third", then: "third", sync: syscall.ENOTSUP},
		{what: "a disk that fails", text: "fourth", then: "fourth", sync: syscall.EIO, want: syscall.EIO},
	} {
		if c.want == syscall.EIO && runtime.GOOS == "windows" { // it syncs no directory
			c.want = nil
		}
		if err := os.WriteFile(next, []byte("what a power cut has left"), 0o600); err != nil {
			t.Fatal(err)
		}
		syncDir = func(f *os.File) error { return errors.Join(c.sync, f.Sync()) }
		err := Replace(next, name, func(f *os.File) error {
			_, err := f.WriteString(c.text)
			return errors.Join(err, c.write)
		})
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if text, err := os.ReadFile(name); err != nil || string(text) != c.then {
			t.Errorf("%s: %q, %v", c.what, text, err)
		}
		if _, err := os.Stat(next); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the unfinished file is left: %v", c.what, err)
		}
	}
}

package dirsync

import (
	"errors"
	"io/fs"
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

package flock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// LockFileEx locks are mandatory for the bytes they cover; this one byte lies
// where no file has any.
var beyond = windows.Overlapped{Offset: ^uint32(0), OffsetHigh: 0x3fffffff}

func try(f *os.File, exclusive bool) (bool, error) {
	h := windows.Handle(f.Fd())
	o := beyond
	// LockFileEx stacks locks instead of converting them.
	_ = windows.UnlockFileEx(h, 0, 1, 0, &o)
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if exclusive {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(h, flags, 0, 1, 0, &o)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return false, nil
	}
	return false, fmt.Errorf("lock %s: %w", f.Name(), err)
}

// release closes first: Windows refuses to remove an open file, which is also
// what makes this safe when someone else has it open by now.
func release(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

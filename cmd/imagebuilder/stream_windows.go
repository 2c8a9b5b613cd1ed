package main

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isUnread says that a write failed because nobody reads the pipe any more: the reader has
// ended, or is about to. Windows never returns EPIPE.
func isUnread(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}

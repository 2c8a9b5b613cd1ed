//go:build unix

package main

import (
	"errors"
	"syscall"
)

// isUnread says that a write failed because nobody reads the pipe any more.
func isUnread(err error) bool { return errors.Is(err, syscall.EPIPE) }

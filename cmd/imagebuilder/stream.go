package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
)

// errUnread ends a command whose output nobody reads any more. It is not printed.
var errUnread = fmt.Errorf("%w: nobody reads what is printed", context.Canceled)

// stream is standard output or standard error. By default a Go program is killed when it
// writes to one of them and the pipe has no reader. It could then not undo anything: a key
// that it made, a node that it cordoned. A stream interrupts the program instead.
type stream struct {
	file      *os.File
	interrupt func()
}

// streams are both outputs. Because SIGPIPE is caught (signal.Notify), a write to a broken
// pipe fails with EPIPE in place of killing the program.
func streams(interrupt func()) (out, told stream) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return stream{os.Stdout, interrupt}, stream{os.Stderr, interrupt}
}

func (s stream) Write(text []byte) (int, error) {
	n, err := s.file.Write(text)
	if isUnread(err) {
		s.interrupt()
		return n, errUnread
	}
	return n, err
}

// Stat describes the underlying file.
func (s stream) Stat() (fs.FileInfo, error) { return s.file.Stat() }

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
)

// errUnread is all that a command says for which nobody is left who reads it.
var errUnread = fmt.Errorf("%w: nobody reads what is printed", context.Canceled)

// stream is standard output or error. By itself a Go program is dead as soon as it writes
// to a pipe there that nobody reads, with all that it has to undo: the key that it made,
// the node that it cordoned. Here that is an interruption.
type stream struct {
	file      *os.File
	interrupt func()
}

// streams are both outputs. Who asks to be told of the signal has their writes fail instead.
func streams(interrupt func()) (out, told stream) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return stream{os.Stdout, interrupt}, stream{os.Stderr, interrupt}
}

func (s stream) Write(text []byte) (int, error) {
	n, err := s.file.Write(text)
	if errors.Is(err, syscall.EPIPE) {
		s.interrupt()
		return n, errUnread
	}
	return n, err
}

// Stat tells what it leads to.
func (s stream) Stat() (fs.FileInfo, error) { return s.file.Stat() }

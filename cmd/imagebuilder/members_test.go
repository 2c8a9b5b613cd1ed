package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
)

// TestNotReadable: a file that only root may read is not taken for a silent Headscale, nor a
// blocking firewall for a file.
func TestNotReadable(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("the book: %w", &fs.PathError{Op: "open", Path: "secrets/keys.json", Err: syscall.EACCES}), true},
		{fmt.Errorf("headscale: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EPERM)}), false},
		{&fs.PathError{Op: "open", Path: "secrets/headscale.key", Err: syscall.ENOENT}, false},
		{errors.New("no answer"), false},
		{nil, false},
	} {
		if got := notReadable(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}

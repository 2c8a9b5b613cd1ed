package main

import (
	"errors"
	"os"
	"testing"
)

// TestAPipeThatNobodyReads interrupts the program, on every system.
func TestAPipeThatNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	interrupted := 0
	s := stream{w, func() { interrupted++ }}
	if _, err := s.Write([]byte("read\n")); err != nil || interrupted != 0 {
		t.Errorf("with a reader: %v, interrupted %d times", err, interrupted)
	}
	r.Close()
	if _, err := s.Write([]byte("unread\n")); !errors.Is(err, errUnread) || interrupted != 1 {
		t.Errorf("without one: %v, interrupted %d times", err, interrupted)
	}
}

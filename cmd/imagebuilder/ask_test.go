package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// asking is a command that reads what is typed.
func asking(typed io.Reader) *cobra.Command {
	cmd := &cobra.Command{}
	cmd.SetContext(context.Background())
	cmd.SetIn(typed)
	cmd.SetErr(&bytes.Buffer{})
	return cmd
}

// TestAsk: each question takes its own line, and the end of the input is no answer.
func TestAsk(t *testing.T) {
	cmd := asking(strings.NewReader(" one \r\n\ntwo"))
	for _, want := range []string{"one", "", "two"} {
		if got, err := ask(cmd.Context(), cmd, "?"); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	if _, err := ask(cmd.Context(), cmd, "?"); !errors.Is(err, errNoAnswer) {
		t.Error(err)
	}
}

// TestAskIsInterrupted although nobody types a line, and an answer that comes with the
// interruption is not accepted.
func TestAskIsInterrupted(t *testing.T) {
	silent, _ := io.Pipe()
	for _, in := range []io.Reader{silent, strings.NewReader("cabin-pi\n")} {
		cmd := asking(in)
		ctx, cancel := context.WithCancel(cmd.Context())
		cancel()
		if _, err := ask(ctx, cmd, "?"); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

// TestAgreed: only the name itself counts as consent, and not together with a Ctrl-C, as
// what follows cannot be undone.
func TestAgreed(t *testing.T) {
	for typed, good := range map[string]bool{"cabin-pi\n": true, "cabin-po\n": false, "\n": false, "": false} {
		if err := agreed(asking(strings.NewReader(typed)), "the node's name", "cabin-pi"); (err == nil) != good {
			t.Errorf("typed %q: %v", typed, err)
		}
	}
	cmd := asking(strings.NewReader("cabin-pi\n"))
	ctx, cancel := context.WithCancel(cmd.Context())
	cancel()
	cmd.SetContext(ctx)
	if err := agreed(cmd, "the node's name", "cabin-pi"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// errNoAnswer says that the input ended where an answer was expected.
var errNoAnswer = errors.New("no answer: the input ended (Ctrl-D); nothing was done")

// atTerminal reports whether somebody can answer questions.
func atTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// yesFlag adds --yes, for an answer in advance.
func yesFlag(cmd *cobra.Command, yes *bool, usage string) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, usage)
}

// typed asks a person to consent by typing a name. Without a terminal it is an error.
func typed(cmd *cobra.Command, what, name string) error {
	if !atTerminal() {
		return usagef("nothing was done: say --yes")
	}
	return agreed(cmd, what, name)
}

// agreed is typed without the check for a terminal.
func agreed(cmd *cobra.Command, what, name string) error {
	answer, err := ask(cmd.Context(), cmd, "Type "+what+" to do it: ")
	if err != nil {
		return err
	}
	if answer != name {
		return fmt.Errorf("that is not %s: nothing was done", name)
	}
	return nil
}

// ask prints a question and returns the line that is typed, without surrounding blanks. It
// returns as soon as the program is interrupted: a read from a terminal cannot be
// interrupted, so its goroutine is left behind.
func ask(ctx context.Context, cmd *cobra.Command, question string) (string, error) {
	fmt.Fprint(cmd.ErrOrStderr(), question)
	var line string
	read := make(chan error, 1)
	go func() {
		var err error
		line, err = readLine(cmd.InOrStdin())
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			fmt.Fprintln(cmd.ErrOrStderr())
		}
		return strings.TrimSpace(line), errors.Join(err, ctx.Err())
	case <-ctx.Done():
		fmt.Fprintln(cmd.ErrOrStderr())
		return "", ctx.Err()
	}
}

// readLine reads no byte beyond the line: text that was typed ahead, or comes from a pipe,
// answers the next question.
func readLine(in io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return string(line), nil
		case n == 1:
			line = append(line, b[0])
		case errors.Is(err, io.EOF) && len(line) > 0: // a last line without an end
			return string(line), nil
		case errors.Is(err, io.EOF):
			return "", errNoAnswer
		case err != nil:
			return "", err
		}
	}
}

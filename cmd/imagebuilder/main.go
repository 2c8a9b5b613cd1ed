// Command imagebuilder turns a board and Debian packages into a bootable disk
// image, without root, on any host.
//
// Output rules: results go to standard output, progress and diagnostics to
// standard error. Exit codes: 0 success, 1 failure, 2 wrong usage,
// 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "imagebuilder: interrupted; nothing half-written was left behind")
		return exitInterrupted
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	fmt.Fprintf(os.Stderr, "imagebuilder: %v\n", err)
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// usageError marks a mistake on the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// exitError ends the program with the exit code of a program it ran, which
// has told its own story.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "imagebuilder",
		Short: "Build bootable node images from Debian packages",
		Long: `imagebuilder turns a board (hardware, as a YAML file) and Debian packages into a
bootable disk image for a k3s node: no root, no loop devices, no chroot.

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see '%s --help'", err, cmd.CommandPath())
	})
	root.AddCommand(
		newBuild(), newInspect(), newRun(),
		newBoards(), newComponents(), newCache(),
		newPersonalize(), newFlash(), newNode(), newVersion(),
	)
	return root
}

// exactArgs is cobra.ExactArgs with an error that says what is wanted.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usagef("'%s' takes %d argument(s) %v, not %d; see '%s --help'",
				cmd.CommandPath(), len(names), names, len(args), cmd.CommandPath())
		}
		return nil
	}
}

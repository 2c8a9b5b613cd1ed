// Command imagebuilder turns a board and Debian packages into a bootable disk image, without
// root, on any host.
//
// Output rules: results go to standard output, progress and diagnostics to standard error.
// Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted, also by a pipe whose
// reader has gone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	os.Exit(run())
}

// softMemoryLimit, in bytes, makes the garbage collector work harder, so that a cold build,
// which decompresses several packages at once, does not need more memory than a small
// builder has. It costs less than a tenth of the time. GOMEMLIMIT overrides it.
const softMemoryLimit = 160 << 20

func run() int {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemoryLimit)
	}
	ctx, interrupt := interruptible()
	out, told := streams(interrupt)
	root := newRoot()
	root.SetOut(out)
	root.SetErr(told)
	return conclude(told, root.ExecuteContext(ctx), ctx.Err() != nil)
}

// interruptible returns a context that ends with the first interrupting signal. A second
// Ctrl-C ends the program at once. When a terminal is closed, its processes get SIGHUP
// twice, the first from the shell. Clean-up must still happen, so SIGHUP is ignored before
// the context ends.
func interruptible() (ctx context.Context, interrupt func()) {
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan os.Signal, 1)
	signal.Notify(first, endings()...)
	go func() {
		<-first
		signal.Ignore(syscall.SIGHUP)
		signal.Stop(first)
		cancel()
	}()
	return ctx, cancel
}

// endings are the signals that interrupt. Under nohup, SIGHUP is not one of them.
func endings() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// ended converts the error of a program that was run: to its exit code, or to ctx's error if
// this program was interrupted.
func ended(ctx context.Context, err error) error {
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &exitError{exit.ExitCode()}
}

// conclude prints how a command ended, and returns the exit code. After an interruption,
// only the error knows what was left behind.
func conclude(out io.Writer, err error, interrupted bool) int {
	var exit *exitError
	var usage *usageError
	var unknown *fleet.UnknownError // every such name comes from the command line, as those in the file were checked
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	case interrupted && err.Error() == errUnread.Error():
		return exitInterrupted
	case interrupted && err.Error() == context.Canceled.Error():
		fmt.Fprintln(out, "imagebuilder: interrupted; nothing half-written was left behind")
		return exitInterrupted
	case interrupted:
		words := strings.ReplaceAll(err.Error(), context.Canceled.Error(), "interrupted")
		fmt.Fprintf(out, "imagebuilder: interrupted: %s\n", printable(words))
		return exitInterrupted
	}
	fmt.Fprintf(out, "imagebuilder: %s\n", printable(err.Error()))
	if errors.As(err, &usage) || errors.As(err, &unknown) {
		return exitUsage
	}
	return exitFailure
}

// fileOf adds the name of the flag to an error about its file. A missing file is wrong
// usage.
func fileOf(flag string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%s: %w", flag, err)
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// usageError marks a mistake on the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// exitError ends the program with the exit code of a program that it ran, which has printed
// its own error.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "imagebuilder",
		Short: "Build bootable node images from Debian packages",
		Long: `imagebuilder turns a board (hardware, described in a YAML file) and Debian packages
into a bootable disk image for a k3s node. It needs no root, no loop devices and no
chroot.

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted. Ctrl-C interrupts,
and so does a terminal that is closed, or a pipe that nobody reads any more. 'run',
'lab ssh' and 'lab kubectl' exit with the code of the program that they run.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if not .HasAvailableSubCommands}}", 1))
	root.AddCommand(
		newBuild(), newInspect(), newVerify(), newRun(),
		newBoards(), newReport(), newComponents(), newCache(),
		newPersonalize(), newFlash(), newNode(), newFleet(), newPlan(), newHeadscale(), newKey(), newLabel(), newStatus(), newUpdate(), newApply(), newReplace(), newUnlock(), newRevoke(), newResurrect(), newLab(), newKubeconfig(), newVersion(),
	)
	root.Version = version()
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentPreRunE = flagGroups
	root.InitDefaultCompletionCmd()
	root.SetHelpCommand(newHelp())
	strictArgs(root)
	return root
}

// newHelp replaces cobra's own command, which exits with 0 for an unknown name.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return usagef("%w", err)
			}
			if err := subcommand(about, rest); err != nil && about.HasSubCommands() {
				return err
			}
			return about.Help()
		},
	}
}

// strictArgs makes wrong arguments of any command wrong usage. By default cobra 1.10 prints
// help and succeeds if a group of commands gets an unknown name.
func strictArgs(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		strictArgs(sub)
	}
	if cmd.HasSubCommands() && cmd.Runnable() { // a group that also does something by itself
		cmd.Args = subcommand
		return
	}
	if cmd.HasSubCommands() {
		cmd.Args = subcommand
		cmd.DisableFlagsInUseLine = true
		if cmd.RunE == nil {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
		return
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			var usage *usageError
			err := check(cmd, args)
			if err == nil || errors.As(err, &usage) {
				return err
			}
			return usagef("%w; see '%s --help'", err, cmd.CommandPath())
		}
	}
}

// subcommand refuses arguments that are left where the name of a subcommand was expected.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	if near := nearest.Name(args[0], names); near != "" {
		return usagef("'%s' has no command %q; did you mean %q?", cmd.CommandPath(), args[0], near)
	}
	return usagef("'%s' has no command %q; see '%s --help'", cmd.CommandPath(), args[0], cmd.CommandPath())
}

// flagError words pflag's errors.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() { // the flags of a misspelt command are unknown, too
		if err := subcommand(cmd, cmd.Flags().Args()); err != nil {
			return err
		}
	}
	var value *pflag.InvalidValueError
	if errors.As(err, &value) { // pflag's text quotes strconv's
		flag := value.GetFlag()
		return usagef("--%s %q: want %s; see '%s --help'", flag.Name, value.GetValue(), flagTypes[flag.Value.Type()], cmd.CommandPath())
	}
	return usagef("%w; see '%s --help'", err, cmd.CommandPath())
}

// flagTypes say what value a flag of a pflag type needs.
var flagTypes = map[string]string{"int": "a whole number", "float64": "a number", "bool": "true or false", "duration": "a time such as 90s, 30m or 8h"}

// flagGroups makes flags that exclude each other wrong usage. cobra 1.10 checks them later,
// with its own error text.
func flagGroups(cmd *cobra.Command, _ []string) error {
	err := cmd.ValidateFlagGroups()
	if err == nil {
		return nil
	}
	if given := excluded(cmd.Flags()); len(given) > 0 {
		return usagef("%s exclude each other; see '%s --help'", strings.Join(given, " and "), cmd.CommandPath())
	}
	return usagef("%w; see '%s --help'", err, cmd.CommandPath())
}

// exclusive is the annotation in which cobra stores a flag's groups, each a list of names.
const exclusive = "cobra_annotation_mutually_exclusive"

// excluded are the flags that were given of a group that allows only one.
func excluded(flags *pflag.FlagSet) (given []string) {
	flags.Visit(func(f *pflag.Flag) {
		for _, group := range f.Annotations[exclusive] {
			var of []string
			for name := range strings.FieldsSeq(group) {
				if flags.Changed(name) {
					of = append(of, "--"+name)
				}
			}
			if len(of) > 1 {
				given = of
			}
		}
	})
	return given
}

// exactArgs is cobra.ExactArgs with an error that names the expected arguments.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			return nil
		case len(names) == 0:
			return usagef("'%s' takes no argument, but got %q; see '%s --help'", cmd.CommandPath(), args[0], cmd.CommandPath())
		}
		return usagef("'%s' takes %d argument(s) %v, not %d; see '%s --help'",
			cmd.CommandPath(), len(names), names, len(args), cmd.CommandPath())
	}
}

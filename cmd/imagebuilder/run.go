package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/qemu"
)

type runFlags struct {
	board, boards, node, dir, size string
	config                         qemu.Config
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [IMAGE]",
		Short: "Boot an image in QEMU",
		Long: `Boot an image in QEMU, with the right machine and firmware for its board. The serial
console is on this terminal, and a port of 127.0.0.1 leads to SSH.

The image itself is not changed. The machine gets a copy, which is deleted at the
end unless --dir keeps it.

To end the machine, shut it down or press Ctrl-C. The exit code is QEMU's own, or
130 after Ctrl-C.`,
		Example: `  imagebuilder run --board rpi4
  imagebuilder run dist/generic-amd64.img --node-config node.yaml --secure-boot
  imagebuilder run --board generic-amd64 --bios
  imagebuilder run --board generic-amd64 --dir /tmp/node1 --disk-size 16GiB --ssh-port 2222`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runRun(cmd, &f, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.board, "board", "", "run dist/BOARD.img")
	flags.StringVar(&f.boards, "boards", "", "directory with your own board files")
	flags.StringVar(&f.node, "node-config", "", "node.yaml for this machine")
	flags.StringVar(&f.dir, "dir", "", "keep the machine's disk in this directory, and continue with it the next time")
	flags.StringVar(&f.size, "disk-size", "8GiB", "size of the machine's disk")
	flags.IntVar(&f.config.SSHPort, "ssh-port", 0, "port of 127.0.0.1 that leads to SSH (default: a free one)")
	flags.IntVar(&f.config.CPUs, "cpus", 2, "number of CPUs")
	flags.StringVar(&f.config.Memory, "memory", "", "memory, such as 4G (default: the board's)")
	flags.StringVar(&f.config.Accel, "accel", "", "kvm, hvf or tcg (default: the fastest that works)")
	flags.BoolVar(&f.config.SecureBoot, "secure-boot", false, "switch Secure Boot on, with Microsoft's keys (UEFI boards)")
	flags.BoolVar(&f.config.SetupMode, "setup-mode", false, "with --secure-boot: start without keys, and accept those of an image built with --sign")
	flags.BoolVar(&f.config.BIOS, "bios", false, "boot by BIOS instead of UEFI (boards with bios: true)")
	flags.BoolVar(&f.config.Display, "display", false, "show the machine's screen in a window")
	_ = cmd.RegisterFlagCompletionFunc("board", completeBoards)
	return cmd
}

func runRun(cmd *cobra.Command, f *runFlags, args []string) error {
	cleanup, err := f.load(args)
	if err != nil {
		return err
	}
	defer cleanup()
	disk, err := qemu.Prepare(f.config)
	if err != nil {
		return err
	}
	if f.node != "" {
		if _, err := personalize(cmd.Context(), disk, f.node); err != nil {
			return err
		}
	}
	machine, err := qemu.Command(cmd.Context(), f.config)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "serial console below; ssh -p %d root@127.0.0.1; Ctrl-C ends the machine\n", f.config.SSHPort)
	go qemu.Attend(cmd.Context(), f.config)
	return ended(cmd.Context(), onTerminal(machine))
}

// onTerminal runs QEMU on this program's terminal, whose settings it changes. QEMU restores
// them if it can end in order, so it gets time for that. If it has to be killed, they are
// restored here. QEMU also makes standard output non-blocking, and leaves it so.
func onTerminal(machine *exec.Cmd) error {
	machine.Stdin, machine.Stdout, machine.Stderr = os.Stdin, os.Stdout, os.Stderr
	machine.WaitDelay = 5 * time.Second
	machine.Cancel = func() error {
		if machine.Process.Signal(syscall.SIGTERM) == nil {
			return nil
		}
		return machine.Process.Kill() // Windows has no such signal
	}
	if before, err := term.GetState(int(os.Stdin.Fd())); err == nil {
		defer func() { _ = term.Restore(int(os.Stdin.Fd()), before) }() // fails only if the terminal is gone
	}
	defer func() {
		_ = syscall.SetNonblock(syscall.Stdin, false)
		_ = syscall.SetNonblock(syscall.Stdout, false)
		_ = syscall.SetNonblock(syscall.Stderr, false)
	}()
	return machine.Run()
}

// load completes the configuration. cleanup removes a temporary directory.
func (f *runFlags) load(args []string) (cleanup func(), err error) {
	if (len(args) == 1) == (f.board != "") {
		return nil, usagef("name either an image or --board BOARD")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	from, err := boardSources(f.boards)
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		f.config.Image = args[0]
	} else if err := f.ofBoard(from); err != nil {
		return nil, err
	}
	id, err := inspect.Identify(f.config.Image)
	if errors.Is(err, fs.ErrNotExist) && f.board != "" {
		return nil, fmt.Errorf("%w; build it first: imagebuilder build --board %s", err, f.board)
	}
	if err != nil {
		return nil, err
	}
	if f.config.Board, err = board.Load(id.Board, from...); err != nil {
		return nil, err
	}
	if f.config.SSHPort == 0 {
		if f.config.SSHPort, err = qemu.FreePort(); err != nil {
			return nil, err
		}
	}
	return f.makeDir()
}

// memorySize matches sizes for QEMU's -m.
var memorySize = regexp.MustCompile(`^[1-9][0-9]*[MG]$`)

// check checks the requested machine before the image is looked for.
func (f *runFlags) check() error {
	size, err := board.ParseSize(f.size)
	switch c := f.config; {
	case err != nil:
		return usagef("--disk-size: %w", err)
	case c.CPUs < 1:
		return usagef("--cpus %d: want a number above 0", c.CPUs)
	case c.Memory != "" && !memorySize.MatchString(c.Memory):
		return usagef("--memory %q: want a whole number with M or G, such as 512M or 4G", c.Memory)
	case !slices.Contains([]string{"", "kvm", "hvf", "tcg"}, c.Accel):
		return usagef("--accel %q: want kvm, hvf or tcg", c.Accel)
	}
	f.config.DiskSize = int64(size)
	return nil
}

// ofBoard names the image of --board. It fails for a board that QEMU cannot run, so that
// nobody is told to build an image in vain.
func (f *runFlags) ofBoard(from []fs.FS) error {
	b, err := board.Load(f.board, from...)
	var unknown *board.UnknownError
	if errors.As(err, &unknown) {
		return usagef("--board: %w", err)
	}
	if err != nil {
		return err
	}
	f.config.Image = filepath.Join("dist", f.board+".img")
	return qemu.Check(b)
}

func (f *runFlags) makeDir() (cleanup func(), err error) {
	if f.dir != "" {
		f.config.Dir = f.dir
		return func() {}, os.MkdirAll(f.dir, 0o700)
	}
	f.config.Dir, cleanup, err = fetch.Scratch("run")
	return cleanup, err
}

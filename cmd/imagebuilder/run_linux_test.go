package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/imagetest"
)

func init() { programs["spoiler"] = spoiler }

// deaf makes spoiler end by SIGKILL only.
const deaf = "SPOILER_IS_DEAF"

// spoiler takes the place of QEMU: it changes the terminal as QEMU does. On SIGTERM it ends
// and leaves a file, but it leaves the terminal as it is.
func spoiler() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	if _, err := term.MakeRaw(0); err != nil {
		panic(err)
	}
	for fd := range 3 {
		if err := syscall.SetNonblock(fd, true); err != nil {
			panic(err)
		}
	}
	fmt.Print("spoilt\r\n")
	<-end
	if os.Getenv(deaf) != "" {
		select {}
	}
	if err := os.WriteFile("ended", nil, 0o600); err != nil {
		panic(err)
	}
}

// terminal opens a new terminal: the side of a person, and that of programs.
func terminal(t *testing.T) (person, programs *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0) // package os would change whether it waits
	if err != nil {
		t.Fatal(err)
	}
	programs = os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() { programs.Close() })
	return person, programs
}

// modes are a terminal's settings, and whether reading from it waits.
func modes(t *testing.T, f *os.File) string {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%+v, does not wait: %v", *termios, flags&unix.O_NONBLOCK != 0)
}

// TestRunLeavesTheTerminalAsItWas: QEMU may end in order, and the terminal is restored even
// if it does not.
func TestRunLeavesTheTerminalAsItWas(t *testing.T) {
	for name, env := range map[string]string{"in order": "", "killed": deaf + "=1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := imagetest.Write(filepath.Join(dir, "pc.img"), "generic-amd64", contract.GPT, false); err != nil {
				t.Fatal(err)
			}
			spoiler, err := exec.LookPath("spoiler")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte("#!/bin/sh\nexec "+spoiler+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			person, tty := terminal(t)
			before := modes(t, tty)
			cmd := exec.Command("imagebuilder", "run", "pc.img", "--bios", "--accel", "tcg")
			cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, tty, tty, tty
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "TMPDIR="+filepath.Join(dir, "none"), env)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }).Stop()
			for r := bufio.NewReader(person); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(line, "spoilt") {
					break
				}
			}
			if modes(t, tty) == before {
				t.Fatal("the terminal is not spoilt")
			}
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
				t.Errorf("it ended with %v", cmd.ProcessState)
			}
			if after := modes(t, tty); after != before {
				t.Errorf("the terminal was\n%s, and is\n%s", before, after)
			}
			if _, err := os.Stat(filepath.Join(dir, "ended")); (err == nil) != (env == "") {
				t.Errorf("QEMU has ended in order: %v", err == nil)
			}
		})
	}
}

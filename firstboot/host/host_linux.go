// Package host implements the interfaces of packages firstboot and update on a real node: file
// system, systemd, tailscaled, network, clock and slots.
//
// It decides nothing and retries nothing: what a failure means is for firstboot to say. It runs on
// Linux only.
package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/firstboot/holder"
	"github.com/going-mobile/imagebuilder/firstboot/tpm"
)

// New returns the host whose root directory is root, "/" on a node. slot marks the running system
// as good.
func New(root string, slot firstboot.Slot) firstboot.Host {
	files := Files{Root: root}
	return firstboot.Host{
		Files:    files,
		System:   system{},
		Units:    units{},
		Tailnet:  &Tailnet{},
		Net:      network{files},
		Clock:    clock{},
		Programs: programs{},
		Slot:     slot,
		Disks:    machineDisks{os.DirFS(files.at("sys"))},
		Crypt:    crypt{files},
		TPM:      chip{tpm.At(files.at(tpm.Device))},
		Shares:   holder.TailnetWay,
		Random:   rand.Reader,
	}
}

type system struct{}

func (system) Hostname() (string, error)     { return os.Hostname() }
func (system) SetHostname(name string) error { return unix.Sethostname([]byte(name)) }

type programs struct{}

// runTime bounds every program: one that hangs must not stop the node.
const runTime = 60 * time.Second

func (programs) Run(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second // a child process may keep the output open
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
		return string(out), fmt.Errorf("%s: %w: %s", argv[0], err, lines[len(lines)-1])
	}
	return string(out), err
}

// units talks to systemd through systemctl(1), which is there whenever systemd is.
type units struct{ programs }

// state returns systemd's ActiveState of a unit.
func (u units) state(ctx context.Context, unit string) (string, error) {
	out, err := u.Run(ctx, "systemctl", "is-active", unit)
	var exit *exec.ExitError
	if errors.As(err, &exit) { // the exit code only repeats that the unit is not active
		err = nil
	}
	return strings.TrimSpace(out), err
}

func (u units) Active(ctx context.Context, unit string) (bool, error) {
	s, err := u.state(ctx, unit)
	return s == "active" || s == "activating" || s == "reloading" || s == "refreshing", err
}

func (u units) Ready(ctx context.Context, unit string) (bool, error) {
	s, err := u.state(ctx, unit)
	return s == "active", err
}

// Failed reads lines of the form "UNIT LOAD ACTIVE SUB DESCRIPTION".
func (u units) Failed(ctx context.Context) (names []string, err error) {
	out, err := u.Run(ctx, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full")
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 0 {
			names = append(names, words[0])
		}
	}
	return names, err
}

func (u units) Start(ctx context.Context, unit string) error {
	_, err := u.Run(ctx, "systemctl", "start", "--no-block", unit)
	return err
}

// Restart also restarts a unit that systemd has given up on because it failed too often.
func (u units) Restart(ctx context.Context, unit string) error {
	_, _ = u.Run(ctx, "systemctl", "reset-failed", unit) // fails if the unit has not failed
	_, err := u.Run(ctx, "systemctl", "restart", "--no-block", unit)
	return err
}

func (u units) Reload(ctx context.Context) error {
	_, err := u.Run(ctx, "systemctl", "daemon-reload")
	return err
}

func (u units) Log(ctx context.Context, unit string, lines int) (string, error) {
	return u.Run(ctx, "journalctl", "--boot", "--unit", unit, "--lines", fmt.Sprint(lines), "--output", "cat", "--no-pager", "--quiet")
}

type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) Sleep(ctx context.Context, d time.Duration) error {
	return ctxio.Sleep(ctx, d)
}

// timesyncStamp is created by systemd-timesyncd(8) once it has set the clock.
const timesyncStamp = "/run/systemd/timesync/synchronized"

// Synced asks the kernel, which every time service informs: adjtimex(2). The kernel forgets this
// when it changes to another clock source, as PCs do some minutes after power-on;
// systemd-timesyncd's stamp stays.
func (clock) Synced() (bool, error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, err
	}
	if t.Status&unix.STA_UNSYNC == 0 {
		return true, nil
	}
	_, err := os.Stat(timesyncStamp)
	return err == nil, nil
}

func (clock) Set(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}

// Package qemu runs images on emulated boards: the right machine, firmware,
// disk bus and network for each, with the image itself never written to.
//
// It starts QEMU and nothing else; what a guest says on its serial line is the
// caller's to read. It refuses to guess: a board that names no machine, or a
// host without QEMU or firmware, is an error that says what to install.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/board"
)

// Config says what to run and how.
type Config struct {
	Board *board.Board
	// Image is a raw disk image. It is used as the backing file of Disk.
	Image string
	// Dir holds the files of this run: the disk, UEFI variables, the Pi's
	// boot files. Running again with the same Dir continues with its disk.
	Dir string
	// DiskSize of the emulated disk in bytes; at least the image's size. The
	// guest grows into it at first boot. SD cards need a power of two.
	DiskSize int64
	// CPUs and Memory ("2G") override the board's.
	CPUs   int
	Memory string
	// Accel is kvm, hvf, tcg or empty for the best that truly works.
	Accel string
	// SSHPort on 127.0.0.1 leads to the guest's port 22; 0 for none.
	SSHPort int
	// Forward lists more host:guest TCP ports, on 127.0.0.1.
	Forward map[int]int
	// Restrict cuts the guest off from everything but Forward and SSHPort.
	Restrict bool
	// MAC of the guest's network card; empty for QEMU's default.
	MAC string
	// Display shows the guest's screen in a window.
	Display bool
	// QMP is the path of a control socket, if wanted.
	QMP string
	// NoReboot ends QEMU when the guest reboots.
	NoReboot bool
	// Extra arguments for QEMU.
	Extra []string
}

// Command prepares Config.Dir and returns QEMU's command, its serial line on
// standard input and output. The caller starts it.
func Command(ctx context.Context, c Config) (*exec.Cmd, error) {
	m, ok := machines[c.Board.QEMU.Machine]
	if !ok {
		return nil, fmt.Errorf("board %s: qemu.machine %q cannot be emulated; known: q35, virt, raspi4b", c.Board.Name, c.Board.QEMU.Machine)
	}
	binary, err := exec.LookPath(m.binary)
	if err != nil {
		return nil, fmt.Errorf("%s is not installed; on Debian: apt install %s", m.binary, m.debian)
	}
	if c.DiskSize, err = m.diskSize(c); err != nil {
		return nil, err
	}
	disk, err := c.disk(ctx)
	if err != nil {
		return nil, err
	}
	args, err := m.args(ctx, c, binary, disk)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, binary, append(args, c.common()...)...), nil
}

func (c *Config) common() []string {
	args := []string{"-nodefaults", "-no-user-config", "-m", c.memory(), "-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0"}
	if !c.Display {
		args = append(args, "-display", "none")
	}
	if c.QMP != "" {
		args = append(args, "-qmp", "unix:"+c.QMP+",server=on,wait=off")
	}
	if c.NoReboot {
		args = append(args, "-no-reboot")
	}
	return append(args, c.Extra...)
}

func (c *Config) memory() string {
	if c.Memory != "" {
		return c.Memory
	}
	return c.Board.QEMU.Memory
}

func (c *Config) cpus() int {
	if c.CPUs > 0 {
		return c.CPUs
	}
	return 2
}

// disk returns the run's own disk, made on the first run as a copy-on-write
// layer over the image.
func (c *Config) disk(ctx context.Context) (string, error) {
	disk := filepath.Join(c.Dir, "disk.qcow2")
	if _, err := os.Stat(disk); err == nil {
		return disk, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	image, err := filepath.Abs(c.Image)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw",
		"-b", image, disk, fmt.Sprint(c.DiskSize)).CombinedOutput()
	if err != nil {
		os.Remove(disk)
		return "", fmt.Errorf("qemu-img (Debian: qemu-utils): %w: %s", err, out)
	}
	return disk, nil
}

// netdev returns QEMU's user network: no privilege, no bridge, and the host's
// loopback as 10.0.2.2.
func (c *Config) netdev() string {
	dev := "user,id=net0"
	if c.Restrict {
		dev += ",restrict=on"
	}
	if c.SSHPort != 0 {
		dev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:22", c.SSHPort)
	}
	for _, host := range sortedKeys(c.Forward) {
		dev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", host, c.Forward[host])
	}
	return dev
}

// Package qemu runs images on emulated boards: with the right machine, firmware, disk bus
// and network for each. The image itself is never written to.
//
// The guest's serial line is left to the caller. The package refuses to guess: for a board
// without an emulated machine, or a host without QEMU or firmware, the error says what to
// install.
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/board"
)

// Config says what to run and how.
type Config struct {
	Board *board.Board
	// Image is a raw disk image; the guest gets a copy of it.
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
	// Accel is kvm, hvf or tcg; empty means the fastest that actually works.
	Accel string
	// SSHPort is a port on 127.0.0.1 that leads to the guest's port 22; 0 for none.
	SSHPort int
	// Forward lists more host:guest TCP ports, on 127.0.0.1.
	Forward map[int]int
	// Restrict cuts the guest off from everything but Forward and SSHPort.
	Restrict bool
	// Switch is a Unix socket to which a second network card, with the address SwitchMAC, is
	// connected: each frame is preceded by its length in 32 bits, big endian.
	Switch, SwitchMAC string
	// SecureBoot boots only what is signed by Microsoft, or by somebody with a certificate
	// from Microsoft. UEFI boards only.
	SecureBoot bool
	// SetupMode goes with SecureBoot: the firmware has no keys yet, and accepts the first
	// ones that are enrolled.
	SetupMode bool
	// BIOS boots a PC with SeaBIOS, which comes with QEMU, in place of UEFI.
	BIOS bool
	// Display shows the guest's screen in a window.
	Display bool
	// QMP is the path of a control socket, if wanted.
	QMP string
	// Extra arguments for QEMU.
	Extra []string
}

// Check says why a board cannot be emulated, nil if it can.
func Check(b *board.Board) error {
	if b.QEMU.Machine == "" {
		return fmt.Errorf("board %s: QEMU has no such machine; its image starts on hardware only", b.Name)
	}
	if _, ok := machines()[b.QEMU.Machine]; !ok {
		return fmt.Errorf("board %s: qemu.machine %q cannot be emulated; known: %s", b.Name, b.QEMU.Machine, strings.Join(slices.Sorted(maps.Keys(machines())), ", "))
	}
	return nil
}

// Command prepares Config.Dir and returns QEMU's command, with the serial line on standard
// input and output. The caller starts the command, and calls Attend while it runs.
func Command(ctx context.Context, c Config) (*exec.Cmd, error) {
	if err := Check(c.Board); err != nil {
		return nil, err
	}
	m := machines()[c.Board.QEMU.Machine]
	if c.BIOS && !c.Board.BIOS {
		return nil, fmt.Errorf("board %s: its image does not start by BIOS; a board file with bios: true makes one that does", c.Board.Name)
	}
	if c.SetupMode && !c.SecureBoot {
		return nil, errors.New("setup mode is one of Secure Boot's (--secure-boot)")
	}
	if c.BIOS && c.SecureBoot {
		return nil, errors.New("a BIOS has no Secure Boot")
	}
	binary, err := exec.LookPath(m.binary)
	if err != nil {
		return nil, fmt.Errorf("%s is not installed; on Debian: apt install %s", m.binary, m.debian)
	}
	disk, err := Prepare(c)
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
	args := []string{"-nodefaults", "-no-user-config", "-m", c.memory(), "-chardev", "stdio,id=serial0", "-serial", "chardev:serial0"}
	if !c.Display {
		args = append(args, "-display", "none")
	}
	if c.QMP != "" {
		args = append(args, "-qmp", "unix:"+Value(c.QMP)+",server=on,wait=off")
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

// Prepare makes the run's own disk unless an earlier run left one: a sparse copy of the
// image, extended to Config.DiskSize. It returns the disk's path, so that the disk can be
// personalised before the machine starts.
func Prepare(c Config) (disk string, err error) {
	disk = filepath.Join(c.Dir, "disk.img")
	if _, err := os.Stat(disk); !errors.Is(err, os.ErrNotExist) {
		return disk, err
	}
	size, err := c.diskSize()
	if err != nil {
		return "", err
	}
	from, err := os.Open(c.Image)
	if err != nil {
		return "", err
	}
	defer from.Close()
	tmp := disk + ".new"
	defer os.Remove(tmp)
	if err := sparseCopy(tmp, from, size); err != nil {
		return "", fmt.Errorf("emulated disk: %w", err)
	}
	return disk, os.Rename(tmp, disk)
}

// sparseCopy writes only blocks that are not zero.
func sparseCopy(to string, from io.Reader, size int64) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; {
		n, err := io.ReadFull(from, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := f.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Close()
}

// netdev returns QEMU's user network: no privilege, no bridge, and the host's
// loopback as 10.0.2.2.
func (c *Config) netdev() string {
	dev := "user,id=net0"
	if c.Restrict {
		dev += ",restrict=on,ipv6=off" // with IPv6 QEMU would announce itself as a router
	}
	if c.SSHPort != 0 {
		dev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:22", c.SSHPort)
	}
	for _, host := range sortedKeys(c.Forward) {
		dev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", host, c.Forward[host])
	}
	return dev
}

// FreePort returns a TCP port of loopback on which nothing listens.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

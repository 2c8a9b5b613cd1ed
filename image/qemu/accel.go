package qemu

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// bestAccel returns the fastest accelerator that actually works here.
func bestAccel(ctx context.Context, binary, arch string) string {
	switch {
	case runtime.GOARCH != arch:
		return "tcg"
	case runtime.GOOS == "darwin":
		return "hvf"
	case runtime.GOOS == "linux" && arch == "amd64" && kvmWorks(ctx, binary):
		return "kvm"
	case runtime.GOOS == "linux" && arch == "arm64" && writable("/dev/kvm"):
		return "kvm"
	}
	return "tcg"
}

func accelArg(name string) string {
	if name == "tcg" {
		return "tcg,thread=multi"
	}
	return name
}

func cpuFor(accel, tcgModel string) string {
	if accel == "tcg" {
		return tcgModel
	}
	return "host"
}

func writable(dev string) bool {
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// kvmWorks boots a sector that exits through the debug-exit device. Being able to open
// /dev/kvm proves nothing: in some sandboxes it fails later, or lacks features that every
// 64-bit PC has, of which QEMU warns.
func kvmWorks(ctx context.Context, binary string) bool {
	if !writable("/dev/kvm") {
		return false
	}
	dir, err := os.MkdirTemp("", "imagebuilder-kvm")
	if err != nil {
		return false
	}
	defer os.RemoveAll(dir)
	sector := make([]byte, 512)
	copy(sector, []byte{0xb0, 0x21, 0xe6, 0xf4, 0xf4}) // mov al,0x21; out 0xf4,al; hlt
	sector[510], sector[511] = 0x55, 0xaa
	disk := filepath.Join(dir, "probe")
	if os.WriteFile(disk, sector, 0o600) != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-accel", "kvm", "-machine", "pc", "-m", "16", "-nodefaults", "-display", "none",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive", drive(disk, "if=ide"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	const left = 0x21<<1 | 1
	var exit *exec.ExitError
	return errors.As(cmd.Run(), &exit) && exit.ExitCode() == left && stderr.Len() == 0
}

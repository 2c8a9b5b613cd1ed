package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func devices(ctx context.Context) ([]Device, error) {
	return macDevices(func(args ...string) (any, error) { return diskutil(ctx, args...) })
}

// lookup describes a device node; it returns nil for a file.
func lookup(ctx context.Context, name string) (*Device, error) {
	real, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(name, "/dev/") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(real)
	if err != nil || fi.Mode()&fs.ModeDevice == 0 {
		return nil, err
	}
	return macDevice(func(args ...string) (any, error) { return diskutil(ctx, args...) }, strings.TrimPrefix(filepath.Base(real), "r"))
}

func runDiskutil(ctx context.Context, args ...string) error {
	return exec.CommandContext(ctx, "/usr/sbin/diskutil", args...).Run()
}

// diskutil runs diskutil(8), the only way to this information without cgo.
func diskutil(ctx context.Context, args ...string) (any, error) {
	cmd := exec.CommandContext(ctx, "/usr/sbin/diskutil", args...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("diskutil %s: %w", strings.Join(args, " "), err)
	}
	return parsePlist(bytes.NewReader(out))
}

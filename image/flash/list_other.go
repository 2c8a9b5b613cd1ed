//go:build !linux && !darwin

package flash

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
)

var errNoDevices = errors.New("writing to disks is not supported on " + runtime.GOOS +
	": write the image with Raspberry Pi Imager or balenaEtcher, then personalize the drive of its boot partition (such as E:)")

func devices(context.Context) ([]Device, error) { return nil, errNoDevices }

// lookup knows devices by their names only; everything else is a file.
func lookup(_ context.Context, name string) (*Device, error) {
	if strings.HasPrefix(name, `\\.\`) || strings.HasPrefix(name, "/dev/") {
		return nil, errNoDevices
	}
	if fi, err := os.Stat(name); err == nil && fi.Mode()&os.ModeDevice != 0 {
		return nil, errNoDevices
	}
	return nil, nil
}

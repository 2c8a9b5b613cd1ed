//go:build !linux

package flash

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// openDevice opens macOS's raw device, which is uncached and many times as
// fast as the buffered one; it refuses one that is mounted by itself.
func openDevice(path string) (*os.File, error) {
	return os.OpenFile(strings.Replace(path, "/dev/disk", "/dev/rdisk", 1), os.O_RDWR, 0)
}

func isBusy(err error) bool { return errors.Is(err, syscall.EBUSY) }

func zeroRange(*os.File, int64, int64) error { return errors.ErrUnsupported }

// dropCache has nothing to do: raw devices are not cached here.
func dropCache(*os.File) {}

// rereadTable has nothing to do: macOS looks again when a device is closed.
func rereadTable(*os.File) {}

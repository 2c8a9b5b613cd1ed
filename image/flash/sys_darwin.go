package flash

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openDevice opens macOS's raw device, which is uncached and many times faster than the
// buffered one. macOS itself refuses to open a mounted one.
func openDevice(path string) (*os.File, error) {
	return os.OpenFile(rawDevice(path), os.O_RDWR, 0)
}

// openToLook opens the raw device read-only, which macOS also allows for a mounted one.
func openToLook(path string) (*os.File, error) { return os.Open(rawDevice(path)) }

func rawDevice(path string) string { return strings.Replace(path, "/dev/disk", "/dev/rdisk", 1) }

func openRaw(_ context.Context, d *Device) (*os.File, []*os.File, error) {
	f, err := openDevice(d.Path)
	return f, nil, err
}

// mayWrite asks macOS without opening the device: whenever a device is closed that was open
// for writing, macOS may mount its volumes again. It cannot tell whether the terminal has
// permission to use removable volumes.
func mayWrite(path string) error {
	if err := unix.Access(rawDevice(path), unix.R_OK|unix.W_OK); err != nil {
		return &os.PathError{Op: "open", Path: rawDevice(path), Err: err}
	}
	return nil
}

func isBusy(err error) bool { return errors.Is(err, syscall.EBUSY) }

func isGone(err error) bool { return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) }

func howToBeAllowed(string) string { return macAllowed }

// release closes the device first, because diskutil waits until nobody uses the disk. macOS
// rereads the partition table by itself.
func release(ctx context.Context, f *os.File, path string, removable bool) (ejected bool, err error) {
	if err := f.Close(); err != nil || !removable {
		return false, err
	}
	return runDiskutil(ctx, "eject", path) == nil, nil
}

func zeroRange(*os.File, int64, int64) error { return errors.ErrUnsupported }

// syncCache is DKIOCSYNCHRONIZECACHE of sys/disk.h, _IO('d', 22).
const syncCache = 0x20006416

// syncDevice makes the disk write out its cache; see macSync.
func syncDevice(f *os.File) error {
	fd := int(f.Fd())
	return macSync(func() error { return unix.IoctlSetInt(fd, syncCache, 0) }, func() error { return unix.Fsync(fd) })
}

// dropCache has nothing to do: raw devices are not cached here.
func dropCache(*os.File) {}

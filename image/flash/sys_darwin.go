package flash

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openDevice opens macOS's raw device, which is uncached and many times as
// fast as the buffered one; it refuses one that is mounted by itself.
func openDevice(path string) (*os.File, error) {
	return os.OpenFile(rawDevice(path), os.O_RDWR, 0)
}

// openToLook opens the raw device for reading alone, which macOS allows for what
// is mounted as well.
func openToLook(path string) (*os.File, error) { return os.Open(rawDevice(path)) }

func rawDevice(path string) string { return strings.Replace(path, "/dev/disk", "/dev/rdisk", 1) }

func openRaw(d *Device) (*os.File, []*os.File, error) {
	f, err := openDevice(d.Path)
	return f, nil, err
}

func isBusy(err error) bool { return errors.Is(err, syscall.EBUSY) }

func isGone(err error) bool { return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) }

// howToBeAllowed: root is not enough where the terminal was never allowed to
// use removable volumes.
func howToBeAllowed(string) string {
	return "run it with sudo, and allow your terminal the use of removable volumes (System Settings, Privacy & Security)"
}

// release closes first: diskutil waits for others to let go of a disk. macOS
// looks at the new partitions by itself.
func release(ctx context.Context, f *os.File, path string, removable bool) (ejected bool, err error) {
	if err := f.Close(); err != nil || !removable {
		return false, err
	}
	return runDiskutil(ctx, "eject", path) == nil, nil
}

func zeroRange(*os.File, int64, int64) error { return errors.ErrUnsupported }

// syncCache is DKIOCSYNCHRONIZECACHE of sys/disk.h, _IO('d', 22).
const syncCache = 0x20006416

// syncDevice has the disk write down what it has in its cache; see macSync.
func syncDevice(f *os.File) error {
	fd := int(f.Fd())
	return macSync(func() error { return unix.IoctlSetInt(fd, syncCache, 0) }, func() error { return unix.Fsync(fd) })
}

// dropCache has nothing to do: raw devices are not cached here.
func dropCache(*os.File) {}

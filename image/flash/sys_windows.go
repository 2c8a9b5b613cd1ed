package flash

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"
)

// openDevice opens a disk without caching; every write is flushed at once.
func openDevice(path string) (*os.File, error) {
	return openHandle(path, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.FILE_FLAG_NO_BUFFERING|windows.FILE_FLAG_WRITE_THROUGH)
}

// openToLook opens a disk read-only, even if its volumes are in use.
func openToLook(path string) (*os.File, error) {
	return openHandle(path, windows.GENERIC_READ, windows.FILE_FLAG_NO_BUFFERING)
}

// openRaw also locks the volumes on the disk: Windows refuses to write where a volume is
// mounted. Closing the locks releases the volumes.
func openRaw(ctx context.Context, d *Device) (*os.File, []*os.File, error) {
	f, err := openDevice(d.Path)
	if err != nil {
		return nil, nil, err
	}
	locks, err := lockVolumes(ctx, d)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, locks, nil
}

func lockVolumes(ctx context.Context, d *Device) (locks []*os.File, err error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(d.Path, drivePrefix), 10, 32)
	if err != nil {
		return nil, err
	}
	all, err := volumes()
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		if !slices.Contains(v.disks, uint32(n)) {
			continue
		}
		f, err := lockVolume(ctx, v, d)
		if err != nil {
			for _, l := range locks {
				l.Close()
			}
			return nil, err
		}
		locks = append(locks, f)
	}
	return locks, nil
}

func lockVolume(ctx context.Context, v winVolume, d *Device) (*os.File, error) {
	f, err := openHandle(v.name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0)
	if err != nil {
		return nil, err
	}
	err = winLock(ctx, cmp.Or(strings.Join(v.paths, " "), v.name), d.String(), func() error {
		_, err := ask(f, fsctlLockVolume, nil)
		return err
	})
	if err == nil {
		_, err = ask(f, fsctlDismountVolume, nil)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// mayWrite opens the disk, which has no effect on its volumes.
func mayWrite(path string) error {
	f, err := openDevice(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func isBusy(err error) bool { return errors.Is(err, windows.ERROR_SHARING_VIOLATION) }

func isGone(err error) bool {
	return errors.Is(err, windows.ERROR_DEVICE_NOT_CONNECTED) || errors.Is(err, windows.ERROR_NO_SUCH_DEVICE) || errors.Is(err, windows.ERROR_NOT_READY)
}

func howToBeAllowed(string) string { return "run it in a terminal of an administrator" }

// release ejects the card, or else makes Windows reread the partition table.
func release(_ context.Context, f *os.File, _ string, removable bool) (ejected bool, err error) {
	if removable {
		_, err := ask(f, ioctlEjectMedia, nil)
		ejected = err == nil
	}
	if !ejected {
		_, _ = ask(f, ioctlUpdateTable, nil) // Windows also does so when the disk is plugged in again
	}
	return ejected, f.Close()
}

func zeroRange(*os.File, int64, int64) error { return errors.ErrUnsupported }

// dropCache has nothing to do: the handle is opened without caching.
func dropCache(*os.File) {}

func syncDevice(f *os.File) error { return f.Sync() }

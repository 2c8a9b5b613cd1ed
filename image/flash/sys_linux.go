package flash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openDevice opens for exclusive use: with O_EXCL the kernel refuses a block
// device that is mounted or held, whatever we failed to see.
func openDevice(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
}

// openToLook opens for reading alone, also what is mounted or locked.
func openToLook(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
}

// openRaw is openDevice past the page cache: what is written is on its way at
// once, so that rate and time left are true, and what is read back comes from
// the device. Some devices cannot.
func openRaw(d *Device) (*os.File, []*os.File, error) {
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = openDevice(d.Path)
	}
	return f, nil, err
}

func isBusy(err error) bool { return errors.Is(err, unix.EBUSY) }

// isGone: a card reader says ENXIO where the card was pulled, USB ENODEV where
// the reader was.
func isGone(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) }

// howToBeAllowed names the group that may write to the device.
func howToBeAllowed(device string) string {
	const root = "run it with sudo --preserve-env=HEADSCALE_API_KEY,IMAGEBUILDER_AGE_IDENTITY"
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil || st.Mode&0o020 == 0 || st.Gid == 0 {
		return root
	}
	name := strconv.Itoa(int(st.Gid))
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return fmt.Sprintf("%s, or join the group that may (sudo usermod -aG %s $USER, then log in again)", root, name)
}

// release ejects a card or stick as a desktop's "safely remove" does: SCSI
// disks, USB's among them, know it; slots for cards do not. The host sees the
// new partitions of what stays; that fails on loop devices, where it does not
// matter.
func release(_ context.Context, f *os.File, _ string, removable bool) (ejected bool, err error) {
	if removable {
		ejected = control(f, func(fd uintptr) error { return unix.IoctlSetInt(int(fd), cdromEject, 0) }) == nil
	}
	if !ejected {
		control(f, func(fd uintptr) error { return unix.IoctlSetInt(int(fd), unix.BLKRRPART, 0) })
	}
	return ejected, f.Close()
}

// cdromEject is CDROMEJECT of linux/cdrom.h, which SCSI disks answer as well.
const cdromEject = 0x5309

// zeroRange asks the kernel to write zeros, which many devices do by
// themselves (BLKZEROOUT, block/ioctl.c). Unlike a discard, it promises zeros.
func zeroRange(f *os.File, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	return control(f, func(fd uintptr) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span))); errno != 0 {
			return errno
		}
		return nil
	})
}

// dropCache makes the next reads come from the medium. The first way works
// for everybody, the second, more thorough one for root; that neither is
// certain is why their errors are of no interest.
func dropCache(f *os.File) {
	control(f, func(fd uintptr) error { return unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) })
	control(f, func(fd uintptr) error { return unix.IoctlSetInt(int(fd), unix.BLKFLSBUF, 0) })
}

func control(f *os.File, do func(fd uintptr) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(fd) }); err != nil {
		return err
	}
	return inner
}

func syncDevice(f *os.File) error { return f.Sync() }

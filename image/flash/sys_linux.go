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

// openDevice opens a device for exclusive use: with O_EXCL the kernel refuses a block
// device that is mounted or held, even if our own checks missed it.
func openDevice(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
}

// openToLook opens a device read-only, even if it is mounted or locked.
func openToLook(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
}

// openRaw is openDevice with O_DIRECT, which bypasses the page cache: data is written at
// once, so that rate and time left are accurate, and what is read back comes from the
// device. If a device does not support that, the page cache is used.
func openRaw(_ context.Context, d *Device) (*os.File, []*os.File, error) {
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = openDevice(d.Path)
	}
	return f, nil, err
}

// mayWrite asks the kernel without opening the device: whenever a device is closed that was
// open for writing, udev reads its partitions anew, which makes desktops mount them.
func mayWrite(path string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return nil
}

func isBusy(err error) bool { return errors.Is(err, unix.EBUSY) }

// isGone recognizes a removed device: a card reader returns ENXIO if the card was pulled,
// USB returns ENODEV if the reader was.
func isGone(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) }

// howToBeAllowed suggests sudo or, if there is one, the group that may write to the device.
func howToBeAllowed(device string) string {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil || st.Mode&0o020 == 0 || st.Gid == 0 {
		return asRoot
	}
	name := strconv.Itoa(int(st.Gid))
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return fmt.Sprintf("%s, or join the group that may (sudo usermod -aG %s $USER, then log in again)", asRoot, name)
}

// release ejects a card or stick, as "safely remove" on a desktop does: SCSI disks support
// it, including USB disks; card slots do not. For a device that is not ejected, the kernel
// rereads the partition table; that fails on loop devices, where it does not matter.
func release(_ context.Context, f *os.File, _ string, removable bool) (ejected bool, err error) {
	if removable {
		ejected = control(f, func(fd uintptr) error { return unix.IoctlSetInt(int(fd), cdromEject, 0) }) == nil
	}
	if !ejected {
		control(f, func(fd uintptr) error { return unix.IoctlSetInt(int(fd), unix.BLKRRPART, 0) })
	}
	return ejected, f.Close()
}

// cdromEject is CDROMEJECT of linux/cdrom.h, which SCSI disks support as well.
const cdromEject = 0x5309

// zeroRange lets the kernel write zeros, which many devices can do by themselves
// (BLKZEROOUT, block/ioctl.c). Unlike a discard, this guarantees zeros.
func zeroRange(f *os.File, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	return control(f, func(fd uintptr) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span))); errno != 0 {
			return errno
		}
		return nil
	})
}

// dropCache makes the next reads come from the medium. The first call works for every user;
// the second is more thorough but needs root. Neither is guaranteed to work, so errors are
// ignored.
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

package flash

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openDevice opens for exclusive use: with O_EXCL the kernel refuses a block
// device that is mounted or held, whatever we failed to see.
func openDevice(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
}

func isBusy(err error) bool { return errors.Is(err, unix.EBUSY) }

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

// rereadTable lets the host see the new partitions. It fails for files,
// without root and on loop devices, and then does not matter.
func rereadTable(f *os.File) {
	control(f, func(fd uintptr) error { return unix.IoctlSetInt(int(fd), unix.BLKRRPART, 0) })
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

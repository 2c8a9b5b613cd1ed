package disks

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
)

// Tools runs a program of e2fsprogs: its full name, arguments; what it printed
// on one line, its exit code, 128 where it did not run.
type Tools func(name string, args ...string) (output string, code int)

// Format makes a file system in a few seconds whatever the size: the rest
// of the tables is written in the background while the node runs. Discarding
// a whole SD card first can take minutes, so that is left to fstrim. A file
// system with an error becomes read-only, or the error would spread. It can encrypt
// directories, whether the node does so or not.
func (run Tools) Format(dev string, p Purpose) error {
	out, code := run("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-L", string(p), "-m", "1", "-e", "remount-ro",
		"-O", "metadata_csum,64bit,encrypt", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", dev)
	if code != 0 {
		return fmt.Errorf("mke2fs ended with %d: %s", code, out)
	}
	return syncDevice(dev)
}

// syncDevice waits for stable storage: mke2fs closes the device, which alone
// promises nothing.
func syncDevice(dev string) error {
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ErrNoExt4 says that there is no file system where one ought to be.
var ErrNoExt4 = errors.New("there is no ext4 file system")

// ErrUnchecked says that nobody knows: the disk does not answer, or e2fsck could not
// work. A cable, or power, may be all of it.
var ErrUnchecked = errors.New("the file system could not be checked")

// Silent says whether a disk has not answered, or is not there any more.
func Silent(err error) bool {
	return slices.ContainsFunc([]error{syscall.EIO, syscall.ENXIO, syscall.ENODEV, syscall.ENOENT}, func(gone error) bool { return errors.Is(err, gone) })
}

// ErrDamaged says that repairing a file system by itself could lose data.
var ErrDamaged = errors.New("the file system is damaged")

// Check replays the journal after a power cut and mends what it can without
// loss; by force it mends at any price. It never formats.
func (run Tools) Check(dev string, force bool) (fixed bool, err error) {
	if _, err := openExt4(dev); errors.Is(err, ErrNoExt4) {
		return false, fmt.Errorf("%s: %w", dev, err)
	} else if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnchecked, err)
	}
	args := []string{"-p", dev}
	if force {
		args = []string{"-f", "-y", dev}
	}
	out, code := run("/usr/sbin/e2fsck", args...)
	switch v := verdictOf(code); {
	case v == fsDamaged, v == fsUnchecked && hasSpoiltSuper(dev):
		return false, fmt.Errorf("%w: e2fsck %s ended with %d: %s", ErrDamaged, args[0], code, out)
	case v == fsUnchecked:
		return false, fmt.Errorf("%w: e2fsck %s ended with %d: %s", ErrUnchecked, args[0], code, out)
	default:
		return v == fsFixed, nil
	}
}

// hasSpoiltSuper reports whether a superblock can be read and is wrong. e2fsck -p does
// not open such a file system, as one on a disk that does not answer; by force it takes
// another superblock.
func hasSpoiltSuper(dev string) bool {
	f, err := os.Open(dev)
	if err != nil {
		return false
	}
	defer f.Close()
	ok, err := isIntact(f)
	return err == nil && !ok
}

// Grow enlarges a mounted file system to so many bytes if it is smaller, as on
// the copy of a smaller disk. It is journaled: a power cut is answered by
// asking again.
func (run Tools) Grow(dev string, room int64, say func(format string, args ...any)) error {
	have, err := openExt4(dev)
	if err != nil {
		return err
	}
	if room-have.bytes() < alignment {
		return nil
	}
	say("growing the file system on %s to %s", dev, gb(room))
	if out, code := run("/usr/sbin/resize2fs", dev); code != 0 {
		// The node works with the size it has; the next boot tries again.
		say("resize2fs ended with %d: %s", code, out)
	}
	return nil
}

func openExt4(dev string) (ext4, error) {
	f, err := os.Open(dev)
	if err != nil {
		return ext4{}, err
	}
	defer f.Close()
	return readExt4(f)
}

// verdict is what an exit code of e2fsck(8) means.
type verdict int

const (
	fsClean     verdict = iota
	fsFixed             // errors were corrected
	fsDamaged           // errors are left
	fsUnchecked         // e2fsck could not work: of the file system that says nothing
)

// verdictOf reads the bits of an exit code: 1 errors corrected, 2 reboot
// wanted (which concerns mounted file systems; ours is not), 4 errors left,
// 8 and above: e2fsck itself failed. -1 is a signal.
func verdictOf(code int) verdict {
	switch {
	case code == 0:
		return fsClean
	case code > 0 && code < 4:
		return fsFixed
	case code > 0 && code&4 != 0:
		return fsDamaged
	}
	return fsUnchecked
}

package disks

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
)

// Tools runs a program of e2fsprogs, given by its full path, with arguments. It
// returns the output as one line and the exit code, 128 if the program did not
// run.
type Tools func(name string, args ...string) (output string, code int)

// Format makes a file system in a few seconds, whatever the size: the rest of
// the tables is written in the background while the node runs. Discarding a
// whole SD card first could take minutes, so that is left to fstrim. After an
// error the file system becomes read-only, so that the error does not spread.
// It can encrypt directories, whether the node uses that or not.
func (run Tools) Format(dev string, p Purpose) error {
	out, code := run("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-L", string(p), "-m", "1", "-e", "remount-ro",
		"-O", "metadata_csum,64bit,encrypt", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", dev)
	if code != 0 {
		return fmt.Errorf("mke2fs ended with %d: %s", code, out)
	}
	return syncDevice(dev)
}

// syncDevice waits for stable storage: mke2fs only closes the device, which
// promises nothing.
func syncDevice(dev string) error {
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ErrNoExt4 means that there is no ext4 file system where one should be.
var ErrNoExt4 = errors.New("there is no ext4 file system")

// ErrUnchecked means that the state is unknown: the disk does not answer, or
// e2fsck could not work. The cause may be no more than a cable, or power.
var ErrUnchecked = errors.New("the file system could not be checked")

// Silent reports whether an error means that a disk does not answer or is gone.
func Silent(err error) bool {
	return slices.ContainsFunc([]error{syscall.EIO, syscall.ENXIO, syscall.ENODEV, syscall.ENOENT}, func(gone error) bool { return errors.Is(err, gone) })
}

// ErrDamaged means that an automatic repair of the file system could lose data.
var ErrDamaged = errors.New("the file system is damaged")

// Check replays the journal after a power cut and repairs what it can without
// loss. With force it repairs at any price. It never formats.
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

// hasSpoiltSuper reports whether the superblock can be read but is wrong.
// e2fsck -p ends in the same way for that as for a disk that does not answer;
// with force it uses another superblock.
func hasSpoiltSuper(dev string) bool {
	f, err := os.Open(dev)
	if err != nil {
		return false
	}
	defer f.Close()
	ok, err := isIntact(f)
	return err == nil && !ok
}

// Grow enlarges a mounted file system to room bytes if it is smaller, as on the
// copy of a smaller disk. That is journaled: after a power cut it can be
// repeated.
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
		// The node works with the present size; the next boot tries again.
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
	fsUnchecked         // e2fsck could not work, which says nothing about the file system
)

// verdictOf reads the bits of an exit code: 1 errors corrected; 2 reboot
// wanted, which concerns mounted file systems and so not ours; 4 errors left; 8
// and above e2fsck itself failed. -1 means a signal.
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

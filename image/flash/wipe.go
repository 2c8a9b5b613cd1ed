package flash

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/going-mobile/imagebuilder/image/disk"
)

// wipeSize is how many bytes are erased at each place where something old might be
// recognized: partition tables, superblocks of file systems, RAID and LVM labels.
const wipeSize = 1 << 20

// wipe erases the old partition table at both ends of a device and the beginning of every
// partition in it. Otherwise the new system might find an old file system again once it has
// made its own partitions at the same places.
func (t *target) wipe() error {
	if !t.device {
		return nil
	}
	places := []int64{0, t.size - wipeSize}
	// Without a readable table there are no partitions to erase.
	if l, err := disk.Read(t, t.size); err == nil {
		for _, p := range l.Partitions {
			places = append(places, p.Start)
		}
	}
	for _, off := range places {
		off = max(0, off)
		if err := t.zero(off, min(wipeSize, t.size-off)); err != nil {
			return err
		}
	}
	return t.m.Sync()
}

// spoil makes a device with an unfinished image unbootable, and returns text to append to
// the error. It erases what was written last first: the beginning, then the copy of the
// table at the image's end. It does not rely on the erasing, but on what it reads back
// afterwards.
func (t *target) spoil(size int64) string {
	if !t.device {
		return ""
	}
	var fault error
	for _, off := range []int64{0, max(0, size-wipeSize)} {
		fault = cmp.Or(fault, t.zero(off, min(wipeSize, t.size-off)), t.m.Sync())
	}
	if err := t.checkSpoilt(size); err != nil {
		return fmt.Sprintf("; and what was written could not be erased (%v): do not start a machine from this device", cmp.Or(fault, err))
	}
	return "; the device is not bootable now, write it again"
}

func (t *target) checkSpoilt(size int64) error {
	t.m.drop()
	first, last := make([]byte, min(wipeSize, t.size)), make([]byte, sector)
	if _, err := t.ReadAt(first, 0); err != nil {
		return err
	}
	if _, err := t.ReadAt(last, max(0, size-sector)/sector*sector); err != nil {
		return err
	}
	if !isZero(first) || disk.IsGPTHeader(last) {
		return errors.New("it still looks like a disk")
	}
	return nil
}

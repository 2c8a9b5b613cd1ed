package flash

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Device describes a block device so that its user can recognize it.
type Device struct {
	Path  string // /dev/sda
	Model string
	// Serial is the serial number, "" if the system does not report it.
	Serial string
	// Sequence is Linux's count of the disks and media that it has seen (diskseq, since
	// 5.15): another card of the same model in the same slot has another number. 0 means
	// unknown.
	Sequence int64
	Size     int64  // bytes
	Bus      string // usb, sd, mmc, nvme, ata, virtio, loop, …; "" if unknown
	// Removable is set for a card, and for anything on USB.
	Removable bool
	ReadOnly  bool
	// SectorSize is the logical sector size, in bytes.
	SectorSize int64
	// Disk is the path of the whole disk if Path is a partition, else "".
	Disk string
	// Mounts lists where the device or a part of it is mounted; swap is "[SWAP]".
	Mounts []string
	// Contents describes the partitions and volumes on the device in words that its owner
	// may recognize.
	Contents []string
	// Holders are the devices built on top of it: LVM, RAID, encryption.
	Holders []string
	// System is set if the running system needs the device.
	System bool
}

// Devices lists the disks of this computer, also those that an image must not be written
// to; Check tells which.
func Devices(ctx context.Context) ([]Device, error) { return devices(ctx) }

// Lookup returns the device that a name leads to, or nil if the name is that of a file or
// of nothing. A device may have many names (links, /dev/rdisk4, upper or lower case); two
// names are the same device if Path is equal.
func Lookup(ctx context.Context, name string) (*Device, error) { return lookup(ctx, name) }

// isStill returns an error if d is no longer the device that the user agreed to: a path may
// be another device's after something was plugged in. A nil d is a file, and so is an
// agreed Device without a Path.
func (d *Device) isStill(agreed Device) error {
	switch {
	case d == nil && agreed.Path == "":
		return nil
	case d == nil:
		return fmt.Errorf("%s is gone: nothing was written", agreed)
	case agreed.Path == "":
		return fmt.Errorf("%s is not what you agreed to, which was a file: nothing was written; do it again", d)
	case d.Path != agreed.Path || d.Model != agreed.Model || d.Size != agreed.Size ||
		differ(d.Serial, agreed.Serial) || differ(d.Sequence, agreed.Sequence):
		return fmt.Errorf("%s is not the disk that you agreed to, %s: another was plugged in meanwhile, or that one anew; nothing was written, do it again", d, agreed)
	}
	return nil
}

// differ reports whether two values differ and both are known, that is, not zero.
func differ[T comparable](a, b T) bool {
	var unknown T
	return a != b && a != unknown && b != unknown
}

// Check returns why an image of size bytes (-1: unknown) must not be written to d, and what
// to do about it. force allows a device that is built in.
func (d Device) Check(size int64, force bool) error {
	if err := d.checkUse(); err != nil {
		return err
	}
	switch {
	case d.SectorSize != 0 && d.SectorSize != 512:
		return fmt.Errorf("%s has sectors of %d bytes, images are made for 512; use another disk or adapter", d, d.SectorSize)
	case size > d.Size:
		return tooSmall(d.String(), size, d.Size)
	case !d.Removable && !force:
		return fmt.Errorf("%s is built in, not a card or USB disk; if it is the right one, use force", d)
	}
	return nil
}

func tooSmall(device string, size, has int64) error {
	return fmt.Errorf("%s is too small: the image has %s, %d bytes more; use a larger one", device, bytesText(size), size-has)
}

// checkUse is the part of Check that force does not override.
func (d Device) checkUse() error {
	switch {
	case d.Disk != "":
		return fmt.Errorf("%s is a partition; an image brings its own, so name the whole disk, %s", d.Path, d.Disk)
	case d.System:
		return fmt.Errorf("%s is the disk this system runs from (%s)", d, strings.Join(d.Mounts, ", "))
	case len(d.Mounts) > 0:
		return fmt.Errorf("%s is in use, mounted at %s; unmount it first: %s", d, strings.Join(d.Mounts, ", "), unmount(runtime.GOOS, d))
	case len(d.Holders) > 0:
		return fmt.Errorf("%s is in use by %s; stop that first", d, strings.Join(d.Holders, ", "))
	case d.Size == 0: // a card reader without a card is a disk of size 0
		return fmt.Errorf("there is no card in %s: put it in", d)
	case d.ReadOnly:
		return fmt.Errorf("%s is read-only; look for the switch on the card", d)
	}
	return nil
}

// String returns path, model and size, for messages and questions.
func (d Device) String() string {
	if d.Model == "" {
		return fmt.Sprintf("%s (%s)", d.Path, bytesText(d.Size))
	}
	return fmt.Sprintf("%s (%s, %s)", d.Path, d.Model, bytesText(d.Size))
}

// content describes what is on a partition.
func content(kind, label string, size int64) string {
	if label != "" {
		kind = strings.TrimSpace(kind + " " + strconv.Quote(label))
	}
	return strings.TrimSpace(kind + " " + bytesText(size))
}

// bytesText uses powers of ten, as the labels on cards do.
func bytesText(n int64) string {
	v, units := float64(n), []string{"bytes", "kB", "MB", "GB", "TB"}
	for v >= 1000 && len(units) > 1 {
		v, units = v/1000, units[1:]
	}
	if units[0] == "bytes" {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}

// isSystemMount reports whether a running system needs what is mounted there.
func isSystemMount(at string) bool {
	return slices.Contains([]string{"[SWAP]", "/", "/usr", "/boot", "/boot/efi", "/boot/firmware", "/efi", "/etc", "/home", "/nix", "/var"}, at)
}

// Package disks knows the machine's whole disks: how a person recognises them,
// how udev will name them, and what is on them. It makes a disk a node's own,
// for the node's data or for Longhorn's volumes, and finds the disk that a
// stick installs on.
//
// A disk becomes a node's own only if it is empty at both ends. Before anything
// else is written, its first sector says whose it is to be. Once everything is
// on stable storage, that sector says that it is done. In between nobody sees a
// partition on the disk, and after a power cut the work starts again, unless
// somebody has put something there since. Once it is done, nothing formats the
// disk again.
//
// The package refuses to choose between two disks that fit. It refuses to touch
// a disk with somebody's data, a disk of another node, and the one with the
// system.
package disks

import (
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// Disk is a whole disk.
type Disk struct {
	Name  string   // the kernel's: sda, mmcblk0
	Label string   // as a person would recognise it: "sda, 32.0 GB, SanDisk Ultra, on USB"
	Path  string   // of the device in sysfs
	IDs   []string // its names below /dev/disk/by-id
	// Models are what the disk calls itself, without and with the vendor.
	Models       []string
	Serial       string // the number on its label, "" if the disk does not tell it
	Size, Sector int64  // bytes
	ReadOnly     bool
	// Soldered means an eMMC: it is on the bus of memory cards, but is no card.
	Soldered bool
	// Table is nil if there is none. Err says why the table cannot be used,
	// although its ID could be read.
	Table *ptable.Table
	Err   error
}

// String returns the disk's label and the best of its lasting names.
func (d Disk) String() string {
	if len(d.IDs) == 0 {
		return d.Label
	}
	return d.Label + ", " + d.IDs[0]
}

// label describes a disk for someone who looks at the computer.
func (d Disk) label() string {
	parts := []string{d.Name, gb(d.Size)}
	if len(d.Models) > 0 {
		parts = append(parts, d.Models[len(d.Models)-1])
	}
	mmc := "memory card"
	if d.Soldered {
		mmc = "built in (eMMC)"
	}
	for _, bus := range []struct{ devtype, words string }{{"usb", "on USB"}, {"mmc", mmc}, {"nvme", "NVMe"}} {
		if d.OnBus(bus.devtype) {
			parts = append(parts, bus.words)
		}
	}
	return strings.Join(parts, ", ")
}

// OnBus reports whether the disk belongs to a device type of U-Boot: mmc, usb
// or nvme.
func (d Disk) OnBus(devtype string) bool {
	switch devtype {
	case "mmc":
		return strings.Contains(d.Path, "/mmc_host/")
	case "usb":
		return strings.Contains(d.Path, "/usb")
	case "nvme":
		return strings.Contains(d.Path, "/nvme/")
	}
	return false
}

// Purpose is what a node uses a disk for.
type Purpose string

// The purposes.
const (
	Data     Purpose = "data"
	Longhorn Purpose = "longhorn"
	// System is not a use of a node's own disk. It is for the disk that an
	// installer stick makes the boot disk, which has such a mark only until
	// that is finished.
	System Purpose = "system"
)

// partType is the type of the single partition on a disk for this purpose.
func (p Purpose) partType() string {
	if p == Longhorn {
		return contract.TypeLonghornDisk
	}
	return contract.TypeDataDisk
}

// other is the other purpose of a node's own disk.
func (p Purpose) other() Purpose {
	if p == Longhorn {
		return Data
	}
	return Longhorn
}

// words returns what a person would call the disk.
func (p Purpose) words() string {
	switch p {
	case Longhorn:
		return "the disk for Longhorn's volumes"
	case System:
		return "the disk to install on"
	}
	return "the disk for this computer's data"
}

// alignment of partitions, in bytes: larger than the erase blocks of flash.
const alignment = 4 << 20

// smallest is the least size of a node's own disk, in bytes.
const smallest = 2 << 30

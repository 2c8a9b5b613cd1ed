// Package disks knows the machine's whole disks: how a person recognises
// them, how udev will call them, what is on them, and how one becomes a node's
// own, for its data or for Longhorn's volumes, or the one that a stick installs on.
//
// A disk is made a node's own only if it is empty at both ends. The first
// sector then says whose it becomes, before anything else is written, and that
// it has become so, when all is on stable storage: in between nobody sees a
// partition on it, and every power cut is answered by starting again, unless
// somebody put something there since; afterwards nothing formats the disk. The
// package refuses to choose between two disks that fit, and to touch one with
// somebody's data on it, of another node, or with the system on it.
package disks

import (
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// Disk is a whole disk.
type Disk struct {
	Name  string   // of the kernel: sda, mmcblk0
	Label string   // as a person would recognise it: "sda, 32.0 GB, SanDisk Ultra, on USB"
	Path  string   // where the device hangs: a path in sysfs
	IDs   []string // its names below /dev/disk/by-id
	// Models are what it calls itself, without and with the vendor.
	Models       []string
	Serial       string // the number on its label, "" where it tells none
	Size, Sector int64  // bytes
	ReadOnly     bool
	// Soldered is an eMMC: on the bus of memory cards, and no card.
	Soldered bool
	// Table is nil where there is none. Err says why it cannot be used,
	// though its ID could be read.
	Table *ptable.Table
	Err   error
}

// String is the disk's label and the best of its lasting names.
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
	for _, bus := range []struct{ devtype, words string }{{"usb", "on USB"}, {"mmc", "memory card"}, {"nvme", "NVMe"}} {
		if d.OnBus(bus.devtype) {
			parts = append(parts, bus.words)
		}
	}
	return strings.Join(parts, ", ")
}

// OnBus reports whether the disk belongs to U-Boot's device type.
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

// Purpose is what a node uses a disk of its own for.
type Purpose string

// The purposes.
const (
	Data     Purpose = "data"
	Longhorn Purpose = "longhorn"
	// System is no purpose of a disk of a node's own, but of the one that a stick
	// makes the boot disk: only while that is unfinished it has such a mark.
	System Purpose = "system"
)

// partType is the type of the one partition of such a disk.
func (p Purpose) partType() string {
	if p == Longhorn {
		return contract.TypeLonghornDisk
	}
	return contract.TypeDataDisk
}

// other is the other purpose of a disk of a node's own.
func (p Purpose) other() Purpose {
	if p == Longhorn {
		return Data
	}
	return Longhorn
}

// words calls the disk what a person would.
func (p Purpose) words() string {
	switch p {
	case Longhorn:
		return "the disk for Longhorn's volumes"
	case System:
		return "the disk to install on"
	}
	return "the disk for this computer's data"
}

// alignment of partitions, in bytes: erase blocks of flash, and then some.
const alignment = 4 << 20

// smallest is the least size of a disk of a node's own, in bytes.
const smallest = 2 << 30

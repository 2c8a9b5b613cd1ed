package initramfs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/initramfs/ptable"
)

// candidate is a disk with a partition table.
type candidate struct {
	name  string // sda, mmcblk0
	label string // as a person would recognise it: "sda, 32.0 GB, SanDisk Ultra, USB"
	path  string // where the device hangs: a sysfs path
	table *ptable.Table
	err   error // why the table cannot be used, though its ID could be read
}

// errNoDisk says that the boot disk has not appeared yet.
var errNoDisk = errors.New("no disk carries this image")

// choose picks the disk that this kernel came from. espUUID is the PARTUUID
// that systemd-boot says it was loaded from, "" where the firmware is another
// one. Names and order of disks decide nothing: with several disks of one
// image it takes the one on the bus that U-Boot loaded the kernel from, then
// the only one that a first boot has already finished, and else none. While
// early is true it leaves slower buses the time to show theirs.
func choose(disks []candidate, espUUID string, o contract.Args, early bool) (candidate, error) {
	ours := matching(disks, espUUID, o.DiskID)
	if early && o.BootDevice != "" {
		ours = filter(ours, func(c candidate) bool { return onBus(c.path, o.BootDevice) })
	}
	if len(ours) == 0 {
		return candidate{}, errNoDisk
	}
	for _, keep := range []func(candidate) bool{
		func(c candidate) bool { return onBus(c.path, o.BootDevice) },
		func(c candidate) bool { return finished(c.table) },
	} {
		if some := filter(ours, keep); len(ours) > 1 && len(some) > 0 {
			ours = some
		}
	}
	if len(ours) > 1 {
		return candidate{}, twoDisks(ours)
	}
	if err := ours[0].err; err != nil {
		return ours[0], err
	}
	return ours[0], checkOurs(ours[0].table)
}

// matching prefers what the boot loader reports over the command line: the
// former tells where this kernel came from, the latter only which image.
func matching(disks []candidate, espUUID, id string) []candidate {
	byESP := filter(disks, func(c candidate) bool {
		boot := c.table.Entry(contract.PartBoot)
		return espUUID != "" && boot != nil && strings.EqualFold(boot.ID, espUUID)
	})
	if len(byESP) > 0 {
		return byESP
	}
	return filter(disks, func(c candidate) bool { return id != "" && c.table.ID == id })
}

func filter(in []candidate, keep func(candidate) bool) []candidate {
	var out []candidate
	for _, c := range in {
		if keep(c) {
			out = append(out, c)
		}
	}
	return out
}

// onBus reports whether a sysfs path belongs to U-Boot's device type.
func onBus(path, devtype string) bool {
	switch devtype {
	case "mmc":
		return strings.Contains(path, "/mmc_host/")
	case "usb":
		return strings.Contains(path, "/usb")
	case "nvme":
		return strings.Contains(path, "/nvme/")
	}
	return false
}

func finished(t *ptable.Table) bool {
	data := t.Entry(contract.PartData)
	return data != nil && data.Type == t.Scheme.DataType()
}

func twoDisks(disks []candidate) error {
	var labels []string
	for _, c := range disks {
		labels = append(labels, c.label)
	}
	return &Trouble{
		What: fmt.Sprintf("%d disks carry the same system, and it is not clear which of them this computer should use. Nothing was changed on any of them.", len(disks)),
		Disk: strings.Join(labels, " AND "),
		Do:   "Switch the computer off, unplug the card or stick that does not belong here, and switch it on again.",
	}
}

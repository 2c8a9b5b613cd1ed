package initramfs

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
)

// errNoDisk says that the boot disk has not appeared yet.
var errNoDisk = errors.New("no disk carries this image")

// slowBus is how long the slowest bus takes to show a disk.
const slowBus = 15 * time.Second

// startedFrom returns the medium that the kernel came from, as U-Boot or UEFI says it, and the bus
// to look for it on. bus is "" for a medium that is not on a slow bus.
func startedFrom(uboot string, uefi efiboot.Medium) (m efiboot.Medium, bus string) {
	m = cmp.Or(efiboot.Medium(uboot), uefi)
	if m == efiboot.Other {
		return m, ""
	}
	return m, string(m)
}

// choose picks the disk that this kernel came from. espUUID is the PARTUUID of the partition that
// systemd-boot says it was loaded from, "" with other boot loaders. Names and order of disks decide
// nothing. If several disks have the same image, choose takes the one on the medium that U-Boot or
// UEFI started from, then the only one that a first boot has already finished, and else none. While
// early is true it waits for the disks of slower buses.
func choose(all []disks.Disk, espUUID string, o contract.Args, medium efiboot.Medium, early bool) (disks.Disk, error) {
	ours := matching(all, espUUID, o.DiskID)
	isStarted := startedOn(o.BootDevice, medium)
	if early && isStarted != nil {
		ours = filter(ours, isStarted)
	}
	if len(ours) == 0 {
		return disks.Disk{}, errNoDisk
	}
	for _, keep := range []func(disks.Disk) bool{isStarted, func(d disks.Disk) bool { return finished(d.Table) }} {
		if keep == nil {
			continue
		}
		if some := filter(ours, keep); len(ours) > 1 && len(some) > 0 {
			ours = some
		}
	}
	if len(ours) > 1 {
		return disks.Disk{}, twoDisks(ours)
	}
	if err := ours[0].Err; err != nil {
		return ours[0], err
	}
	return ours[0], checkOurs(ours[0].Table)
}

// startedOn returns a filter for the disks that the kernel may have come from, nil if nobody says
// what that medium is. A built-in disk has no bus of its own: for it the filter accepts every disk
// that is not removable.
func startedOn(bus string, medium efiboot.Medium) func(disks.Disk) bool {
	switch {
	case bus != "":
		return func(d disks.Disk) bool { return d.OnBus(bus) }
	case medium == efiboot.Other:
		return func(d disks.Disk) bool { return !isRemovable(d) }
	}
	return nil
}

// matching prefers what the boot loader reports over the command line: the report says which disk
// this kernel came from, the command line only which image.
func matching(all []disks.Disk, espUUID, id string) []disks.Disk {
	all = filter(all, func(d disks.Disk) bool { return d.Table != nil })
	byESP := filter(all, func(d disks.Disk) bool {
		boot := d.Table.Entry(contract.PartBoot)
		return espUUID != "" && boot != nil && strings.EqualFold(boot.ID, espUUID)
	})
	if len(byESP) > 0 {
		return byESP
	}
	return filter(all, func(d disks.Disk) bool { return id != "" && d.Table.ID == id })
}

func filter(in []disks.Disk, keep func(disks.Disk) bool) []disks.Disk {
	var out []disks.Disk
	for _, d := range in {
		if keep(d) {
			out = append(out, d)
		}
	}
	return out
}

func finished(t *ptable.Table) bool {
	data := t.Entry(contract.PartData)
	return data != nil && stateOf(t, data) != dataPending
}

func twoDisks(ours []disks.Disk) error {
	var labels []string
	for _, d := range ours {
		labels = append(labels, d.Label)
	}
	return &Trouble{
		What: fmt.Sprintf("%d disks carry the same system, and it is not clear which of them this computer should use. Nothing was changed on any of them.", len(ours)),
		Disk: strings.Join(labels, " AND "),
		Do: "Switch the computer off, unplug the card or stick that does not belong here, and switch it on again. " +
			"Should a stick install its system on one of them: " + eraseFirst,
	}
}

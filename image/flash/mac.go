package flash

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// This file turns the output of macOS's diskutil into Devices. It is built on every system
// so that it is tested on every system.

// macSync makes durable what was written to a raw device. flush is the command to the disk
// itself, which not all disks support; fsync is the fallback. File.Sync fails on a raw
// device: its F_FULLFSYNC is for files only, a device returns ENOTTY, and Go falls back to
// fsync(2) only after ENOTSUP (internal/poll, fd_fsync_darwin.go). So far only tests have
// run this, no Mac.
func macSync(flush, fsync func() error) error {
	if err := flush(); !errors.Is(err, syscall.ENOTTY) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return fsync()
}

// macQuery runs diskutil and returns its property list.
type macQuery func(args ...string) (any, error)

var macDisk = regexp.MustCompile(`^(disk\d+)(s\d+)*$`)

// macDevices lists the physical disks.
func macDevices(query macQuery) ([]Device, error) {
	list, err := query("list", "-plist", "physical")
	if err != nil {
		return nil, err
	}
	var out []Device
	for _, id := range plistList(list, "WholeDisks") {
		d, err := macDevice(query, fmt.Sprint(id))
		if err != nil {
			return nil, err
		}
		out = append(out, *d)
	}
	return out, nil
}

// macDevice describes one disk or partition by its identifier, such as disk4.
func macDevice(query macQuery, id string) (*Device, error) {
	m := macDisk.FindStringSubmatch(id)
	if m == nil {
		return nil, fmt.Errorf("%s is not the name of a disk", id)
	}
	info, err := query("info", "-plist", id)
	if err != nil {
		return nil, err
	}
	all, err := query("list", "-plist")
	if err != nil {
		return nil, err
	}
	d := &Device{
		Path:       "/dev/" + id,
		Model:      strings.TrimSpace(plistText(info, "MediaName")),
		Size:       plistInt(info, "Size"),
		SectorSize: plistInt(info, "DeviceBlockSize"),
		Bus:        macBus(plistText(info, "BusProtocol")),
		ReadOnly:   plistHas(info, "WritableMedia") && !plistBool(info, "WritableMedia"),
		Mounts:     macMounts(all, m[1]),
		Contents:   macContents(all, m[1]),
	}
	if m[1] != id {
		d.Disk = "/dev/" + m[1]
	}
	d.Removable = plistBool(info, "RemovableMedia") || d.Bus == "usb" || d.Bus == "sd" || plistHas(info, "Internal") && !plistBool(info, "Internal")
	d.System = slices.ContainsFunc(d.Mounts, func(at string) bool {
		return at == "/" || strings.HasPrefix(at, "/System/") || strings.HasPrefix(at, "/private/var/")
	})
	return d, nil
}

func macBus(s string) string {
	switch s {
	case "Secure Digital":
		return "sd"
	case "PCI-Express", "Apple Fabric":
		return "nvme"
	case "SATA":
		return "ata"
	}
	return strings.ToLower(s)
}

// macMounts returns the mount points of a whole disk: those of its partitions, and those of
// the APFS containers on it.
func macMounts(all any, disk string) []string {
	var out []string
	for _, e := range plistList(all, "AllDisksAndPartitions") {
		on := plistText(e, "DeviceIdentifier") == disk
		for _, store := range plistList(e, "APFSPhysicalStores") {
			m := macDisk.FindStringSubmatch(plistText(store, "DeviceIdentifier"))
			on = on || m != nil && m[1] == disk
		}
		if on {
			out = appendMounts(out, e)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// macContents describes the partitions of a whole disk.
func macContents(all any, disk string) (out []string) {
	for _, e := range plistList(all, "AllDisksAndPartitions") {
		if plistText(e, "DeviceIdentifier") != disk {
			continue
		}
		for _, p := range plistList(e, "Partitions") {
			out = append(out, content(plistText(p, "Content"), plistText(p, "VolumeName"), plistInt(p, "Size")))
		}
	}
	return out
}

// appendMounts collects every MountPoint and SnapshotMountPoint inside v.
func appendMounts(out []string, v any) []string {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if s, ok := e.(string); ok && s != "" && strings.HasSuffix(k, "MountPoint") {
				out = append(out, s)
			}
			out = appendMounts(out, e)
		}
	case []any:
		for _, e := range v {
			out = appendMounts(out, e)
		}
	}
	return out
}

package flash

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// host is where the kernel describes block devices (sysfs, proc(5)); tests use their own.
type host struct {
	sys, mountinfo, swaps, dev, udev string
}

var linux = host{sys: "/sys", mountinfo: "/proc/self/mountinfo", swaps: "/proc/swaps", dev: "/dev", udev: "/run/udev/data"}

func devices(context.Context) ([]Device, error) { return linux.devices() }

// lookup describes a block device, through symbolic links such as
// /dev/disk/by-id. It returns nil for a regular file or a new name.
func lookup(_ context.Context, name string) (*Device, error) {
	fi, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(filepath.Clean(name), "/dev/"):
		return nil, nil
	case err != nil:
		return nil, err
	case fi.Mode()&fs.ModeDevice == 0 || fi.Mode()&fs.ModeCharDevice != 0:
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(linux.sys, "dev/block", devNumber(unix.Major(st.Rdev), unix.Minor(st.Rdev))))
	if err != nil {
		return nil, err
	}
	d, err := linux.device(filepath.Base(dir))
	return &d, err
}

func devNumber(major, minor uint32) string {
	return strconv.Itoa(int(major)) + ":" + strconv.Itoa(int(minor))
}

// devices lists the whole disks that have a medium. It leaves out RAM disks, loop devices,
// optical drives, and devices that are built on other disks.
func (h host) devices() ([]Device, error) {
	entries, err := os.ReadDir(filepath.Join(h.sys, "block"))
	if err != nil {
		return nil, err
	}
	var out []Device
	for _, e := range entries {
		if slices.ContainsFunc([]string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "zd"}, func(p string) bool { return strings.HasPrefix(e.Name(), p) }) {
			continue
		}
		// The boot and replay-protected areas of an eMMC are not disks to write to.
		if strings.Contains(e.Name(), "boot") || strings.Contains(e.Name(), "rpmb") {
			continue
		}
		d, err := h.device(e.Name())
		if err != nil {
			return nil, err
		}
		if d.Size > 0 {
			out = append(out, d)
		}
	}
	return out, nil
}

// device describes the disk or partition with a kernel name, such as sda.
func (h host) device(name string) (Device, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(h.sys, "class/block", name))
	if err != nil {
		return Device{}, err
	}
	used, err := h.uses()
	if err != nil {
		return Device{}, err
	}
	// Device names may contain slashes, which are '!' in sysfs.
	d := Device{
		Path:       filepath.Join(h.dev, strings.ReplaceAll(name, "!", "/")),
		Size:       readInt(dir, "size") * 512, // always in units of 512 bytes
		ReadOnly:   readInt(dir, "ro") == 1,
		SectorSize: readInt(dir, "queue/logical_block_size"),
		Model:      model(dir),
		Serial:     h.serial(dir),
		Sequence:   readInt(dir, "diskseq"),
		Bus:        bus(dir, name),
	}
	d.Removable = readInt(dir, "removable") == 1 || d.Bus == "usb" || d.Bus == "sd"
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		d.Disk = filepath.Join(h.dev, filepath.Base(filepath.Dir(dir)))
	}
	h.collect(&d, dir, used, 0)
	d.Contents = h.contents(dir)
	d.Mounts = sortedUnique(d.Mounts)
	d.Holders = sortedUnique(d.Holders)
	d.System = slices.ContainsFunc(d.Mounts, isSystemMount)
	return d, nil
}

func sortedUnique(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// collect adds the uses of a device, of its partitions, and of everything built on them.
func (h host) collect(d *Device, dir string, used map[string][]string, depth int) {
	if depth > 16 { // no real stack of devices is that deep
		return
	}
	d.Mounts = append(d.Mounts, used[readString(dir, "dev")]...)
	d.Mounts = append(d.Mounts, used[filepath.Base(dir)]...)
	holders, _ := os.ReadDir(filepath.Join(dir, "holders"))
	for _, e := range holders {
		d.Holders = append(d.Holders, filepath.Join(h.dev, e.Name()))
		if up, err := filepath.EvalSymlinks(filepath.Join(h.sys, "class/block", e.Name())); err == nil {
			h.collect(d, up, used, depth+1)
		}
	}
	parts, _ := filepath.Glob(filepath.Join(dir, "*", "partition"))
	for _, p := range parts {
		h.collect(d, filepath.Dir(p), used, depth+1)
	}
}

// contents describes the partitions of a disk, or the content of a disk without partitions.
// Type and label are known only if udev runs.
func (h host) contents(dir string) (out []string) {
	parts, _ := filepath.Glob(filepath.Join(dir, "*", "partition"))
	if len(parts) == 0 {
		parts = []string{filepath.Join(dir, "partition")}
	}
	for _, p := range parts {
		at := filepath.Dir(p)
		facts, _ := os.ReadFile(filepath.Join(h.udev, "b"+readString(at, "dev")))
		kind, label := udevFact(facts, "ID_FS_TYPE"), udevFact(facts, "ID_FS_LABEL")
		if at != dir || kind != "" {
			out = append(out, content(kind, label, readInt(at, "size")*512))
		}
	}
	return out
}

// serial takes the serial number from udev, which can query every bus, or else from sysfs.
func (h host) serial(dir string) string {
	facts, _ := os.ReadFile(filepath.Join(h.udev, "b"+readString(dir, "dev")))
	return cmp.Or(udevFact(facts, "ID_SERIAL_SHORT"), readString(dir, "device/serial"), readString(dir, "serial"))
}

// udevFact returns the value of a line in udev's database, such as "E:ID_FS_TYPE=vfat".
func udevFact(facts []byte, name string) string {
	for line := range strings.Lines(string(facts)) {
		if v, ok := strings.CutPrefix(line, "E:"+name+"="); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// uses maps device numbers and kernel names to mount points. Some file systems, such as
// btrfs, are mounted under device numbers of their own; for them only the name of the
// mounted device helps.
func (h host) uses() (map[string][]string, error) {
	text, err := os.ReadFile(h.mountinfo)
	if err != nil {
		return nil, err
	}
	used := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		// ID parent major:minor root mountpoint options [tags] - type source …
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 2 {
			continue
		}
		at := unescape(f[4])
		used[f[2]] = append(used[f[2]], at)
		if src := unescape(g[1]); strings.HasPrefix(src, "/dev/") {
			used[h.kernelName(src)] = append(used[h.kernelName(src)], at)
		}
	}
	swaps, err := os.ReadFile(h.swaps)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(swaps)) {
		if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(f[0], "/dev/") {
			used[h.kernelName(unescape(f[0]))] = append(used[h.kernelName(unescape(f[0]))], "[SWAP]")
		}
	}
	return used, nil
}

// kernelName turns a path under /dev into the device's name in sysfs.
func (h host) kernelName(src string) string {
	real, err := filepath.EvalSymlinks(filepath.Join(h.dev, strings.TrimPrefix(src, "/dev/")))
	if err != nil {
		return strings.TrimPrefix(src, "/dev/")
	}
	rel, err := filepath.Rel(h.dev, real)
	if err != nil {
		return filepath.Base(real)
	}
	return strings.ReplaceAll(rel, "/", "!")
}

// unescape resolves the octal escapes of proc(5), as in "/media/my\040card".
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// bus derives the bus from the device's path in sysfs.
func bus(dir, name string) string {
	if strings.HasPrefix(name, "loop") {
		return "loop"
	}
	if t := readString(dir, "device/type"); strings.Contains(dir, "/mmc_host/") && t != "" {
		return strings.ToLower(t) // "sd", or "mmc", which is soldered in
	}
	for _, b := range []string{"usb", "nvme", "ata", "virtio", "mmc_host"} {
		if strings.Contains(dir, "/"+b) {
			return strings.TrimSuffix(b, "_host")
		}
	}
	return ""
}

func model(dir string) string {
	parts := []string{readString(dir, "device/vendor"), readString(dir, "device/model")}
	if strings.HasPrefix(parts[0], "0x") || parts[0] == "ATA" { // virtio's vendor number; SATA disks as SCSI shows them
		parts[0] = ""
	}
	if parts[1] == "" {
		parts[1] = readString(dir, "device/name") // SD cards
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

func readString(dir, name string) string {
	b, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(b))
}

func readInt(dir, name string) int64 {
	n, _ := strconv.ParseInt(readString(dir, name), 10, 64)
	return n
}

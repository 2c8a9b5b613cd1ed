package initramfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/initramfs/ptable"
)

const sysBlock = "/sys/block"

// disk is an open whole disk.
type disk struct {
	*os.File
	name  string
	label string
}

// listDisks reads the partition tables of all disks, sorted by name. What has
// no table that we read cannot be ours and is left out.
func listDisks() []candidate {
	dirs, _ := filepath.Glob(sysBlock + "/*")
	slices.Sort(dirs)
	var out []candidate
	for _, dir := range dirs {
		if c, ok := readDisk(filepath.Base(dir)); ok {
			out = append(out, c)
		}
	}
	return out
}

func readDisk(name string) (candidate, bool) {
	for _, virtual := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"} {
		if strings.HasPrefix(name, virtual) {
			return candidate{}, false
		}
	}
	// eMMC's boot areas are disks of their own: mmcblk0boot0.
	if strings.HasPrefix(name, "mmcblk") && (strings.Contains(name, "boot") || strings.Contains(name, "rpmb")) {
		return candidate{}, false
	}
	f, err := os.Open("/dev/" + name)
	if err != nil {
		return candidate{}, false
	}
	defer f.Close()
	size, sector, err := geometry(f)
	if err != nil || size == 0 {
		return candidate{}, false
	}
	t, err := ptable.Read(f, size, sector)
	if t == nil || t.ID == "" {
		return candidate{}, false
	}
	path, _ := filepath.EvalSymlinks(filepath.Join(sysBlock, name))
	return candidate{name: name, label: diskLabel(name, path, size), path: path, table: t, err: err}, true
}

// geometry returns the size and the logical sector size in bytes.
func geometry(f *os.File) (size, sector int64, err error) {
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return 0, 0, err
	}
	size, err = f.Seek(0, 2)
	return size, int64(n), err
}

// diskLabel describes a disk for someone who looks at the computer.
func diskLabel(name, path string, size int64) string {
	attr := func(file string) string { return readLine(filepath.Join(sysBlock, name, "device", file)) }
	parts := []string{name, fmt.Sprintf("%.1f GB", float64(size)/1e9)}
	model := strings.TrimSpace(attr("vendor") + " " + attr("model"))
	if model == "" {
		model = attr("name")
	}
	if model != "" && !strings.HasPrefix(model, "0x") {
		parts = append(parts, model)
	}
	for _, bus := range []struct{ devtype, words string }{{"usb", "on USB"}, {"mmc", "memory card"}, {"nvme", "NVMe"}} {
		if onBus(path, bus.devtype) {
			parts = append(parts, bus.words)
		}
	}
	return strings.Join(parts, ", ")
}

func openDisk(name string) (disk, error) {
	f, err := os.OpenFile("/dev/"+name, os.O_RDWR, 0)
	return disk{File: f, name: name}, err
}

// partition returns the device of the partition with the given number and
// waits a moment for devtmpfs to show it.
func (d disk) partition(number int) (string, error) {
	for range 50 {
		if name := d.partitionName(number); name != "" {
			if _, err := os.Stat("/dev/" + name); err == nil {
				return "/dev/" + name, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", fmt.Errorf("the kernel does not show partition %d of %s", number, d.name)
}

func (d disk) partitionName(number int) string {
	files, _ := filepath.Glob(filepath.Join(sysBlock, d.name, d.name+"*", "partition"))
	for _, file := range files {
		if readLine(file) == strconv.Itoa(number) {
			return filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}

// follow makes the kernel's partitions equal to the table's, one by one:
// BLKRRPART fails while any partition is in use. The kernel's own view may lag
// behind by more than our changes: it ignores a GPT whose primary is damaged.
func (d disk) follow(t *ptable.Table) error {
	for _, e := range t.Entries {
		name := d.partitionName(e.Number)
		length := int64(e.Sectors) * t.SectorSize
		if name == "" {
			if err := d.blkpg(unix.BLKPG_ADD_PARTITION, e, t.SectorSize); err != nil {
				return fmt.Errorf("tell the kernel about partition %d: %w", e.Number, err)
			}
			continue
		}
		// sysfs counts in units of 512 bytes whatever the sector size is.
		units, _ := strconv.ParseInt(readLine(filepath.Join(sysBlock, d.name, name, "size")), 10, 64)
		if units*512 == length {
			continue
		}
		if err := d.blkpg(unix.BLKPG_RESIZE_PARTITION, e, t.SectorSize); err != nil {
			return fmt.Errorf("tell the kernel that partition %d grew: %w", e.Number, err)
		}
	}
	return nil
}

// blkpgArg and blkpgPartition are struct blkpg_ioctl_arg and blkpg_partition
// of linux/blkpg.h on 64-bit machines.
type blkpgArg struct {
	op, flags, length int32
	_                 int32
	data              unsafe.Pointer
}

type blkpgPartition struct {
	start, length int64 // bytes
	number        int32
	names         [128]byte
	_             [4]byte
}

func (d disk) blkpg(op int32, e ptable.Entry, sector int64) error {
	p := blkpgPartition{start: int64(e.First) * sector, length: int64(e.Sectors) * sector, number: int32(e.Number)}
	arg := blkpgArg{op: op, length: int32(unsafe.Sizeof(p)), data: unsafe.Pointer(&p)}
	for range 20 {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
		if errno == 0 {
			return nil
		}
		if !errors.Is(errno, unix.EBUSY) {
			return errno
		}
		time.Sleep(100 * time.Millisecond)
	}
	return unix.EBUSY
}

// newGUID returns a random version 4 UUID.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails; it aborts the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

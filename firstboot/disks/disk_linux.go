package disks

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

const (
	sys      = sysfs("/sys")
	sysBlock = string(sys) + "/block"
)

// List returns the machine's disks, sorted by name.
func List() []Disk {
	dirs, _ := filepath.Glob(sysBlock + "/*")
	slices.Sort(dirs)
	var out []Disk
	for _, dir := range dirs {
		if name := filepath.Base(dir); !isVirtual(name, sys.home(name)) {
			if d, err := read(name); err == nil && d.Size > 0 {
				out = append(out, d)
			}
		}
	}
	return out
}

func read(name string) (Disk, error) {
	f, err := os.Open("/dev/" + name)
	if err != nil {
		return Disk{}, err
	}
	defer f.Close()
	size, sector, err := geometry(f)
	if err != nil {
		return Disk{}, err
	}
	d := Disk{Name: name, Path: sys.home(name), Size: size, Sector: sector, ReadOnly: attr(sys.home(name), "ro") == "1"}
	d.IDs, d.Models = sys.names(name)
	d.Serial, d.Soldered = sys.serial(name), sys.soldered(name)
	d.Label = d.label()
	t, err := ptable.Read(f, size, sector)
	if t != nil && t.ID != "" {
		d.Table, d.Err = t, err
	}
	return d, nil
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

// File is an open whole disk.
type File struct {
	*os.File
	name string
}

// Open opens a disk for writing and locks it. While the lock is held, udev does
// not read the table again, which would take away partitions for a moment.
func (d Disk) Open() (File, error) {
	f, err := os.OpenFile("/dev/"+d.Name, os.O_RDWR, 0)
	if err != nil {
		return File{}, err
	}
	for range 50 { // udev itself locks a disk while it looks at it
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return File{f, d.Name}, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return File{}, errors.Join(fmt.Errorf("lock %s: %w", d.Name, err), f.Close())
}

// OpenUnused is Open for a disk that gets another use: it fails if anything on
// the disk is in use.
func (d Disk) OpenUnused() (File, error) {
	if err := d.free(); err != nil {
		return File{}, fmt.Errorf("%s is in use: %w", d.Name, err)
	}
	return d.Open()
}

// Forget flushes what was written to the medium and drops the kernel's cache,
// so that later reads come from the medium.
func (d File) Forget() error {
	if err := d.Sync(); err != nil {
		return err
	}
	return unix.IoctlSetInt(int(d.Fd()), unix.BLKFLSBUF, 0)
}

// free fails if anything on the disk is in use.
func (d Disk) free() error {
	f, err := os.OpenFile("/dev/"+d.Name, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// Partition returns the device of the partition with the given number. It waits
// up to five seconds for devtmpfs to show it.
func (d File) Partition(number int) (string, error) {
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

func (d File) partitionName(number int) string { return PartitionName(d.name, number) }

// PartitionName returns the kernel's name of a partition, given the kernel's
// name of its disk; "" if the kernel knows no such partition.
func PartitionName(disk string, number int) string {
	files, _ := filepath.Glob(filepath.Join(sysBlock, disk, disk+"*", "partition"))
	for _, file := range files {
		if dir := filepath.Dir(file); attr(dir, "partition") == strconv.Itoa(number) {
			return filepath.Base(dir)
		}
	}
	return ""
}

// Follow makes the kernel's partitions equal to the table's, one by one, as
// BLKRRPART fails while any partition is in use. The kernel's view may differ
// by more than our changes: it ignores a GPT whose primary copy is damaged.
func (d File) Follow(t *ptable.Table) error {
	for _, e := range t.Entries {
		name := d.partitionName(e.Number)
		length := int64(e.Sectors) * t.SectorSize
		if name == "" {
			if err := d.blkpg(unix.BLKPG_ADD_PARTITION, e, t.SectorSize); err != nil {
				return fmt.Errorf("tell the kernel about partition %d: %w", e.Number, err)
			}
			continue
		}
		// sysfs counts in units of 512 bytes, whatever the sector size.
		units, _ := strconv.ParseInt(attr(filepath.Join(sysBlock, d.name, name), "size"), 10, 64)
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

func (d File) blkpg(op int32, e ptable.Entry, sector int64) error {
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

// NewGUID returns a random version 4 UUID.
func NewGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails; it aborts the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

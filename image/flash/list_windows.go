package flash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"
)

// Control codes of winioctl.h. The ones for queries need no access rights.
const (
	ioctlQueryProperty   = 0x2d1400
	ioctlGeometry        = 0x700a0
	ioctlIsWritable      = 0x70024
	ioctlVolumeExtents   = 0x560000
	ioctlUpdateTable     = 0x70140
	ioctlEjectMedia      = 0x2d4808
	fsctlLockVolume      = 0x90018
	fsctlDismountVolume  = 0x90020
	lastDrive            = 63
	propertyQueryLength  = 12
	longestDriversAnswer = 4096
)

const drivePrefix = `\\.\PhysicalDrive`

var driveName = regexp.MustCompile(`(?i)^(?:\\\\\.\\)?PhysicalDrive(\d{1,3})$`)

// devices tries every disk number, because there may be gaps.
func devices(context.Context) ([]Device, error) {
	all, err := volumes()
	if err != nil {
		return nil, err
	}
	var out []Device
	for n := range uint32(lastDrive + 1) {
		d, err := drive(n, all)
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.Size == 0 { // a reader without a card
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// lookup recognizes disks by their names; every other name is a file.
func lookup(_ context.Context, name string) (*Device, error) {
	m := driveName.FindStringSubmatch(name)
	if m == nil {
		if strings.HasPrefix(name, `\\.\`) {
			return nil, fmt.Errorf(`%s is not a whole disk: name one like %s1`, name, drivePrefix)
		}
		return nil, nil
	}
	n, err := strconv.ParseUint(m[1], 10, 32)
	if err != nil {
		return nil, err
	}
	all, err := volumes()
	if err != nil {
		return nil, err
	}
	d, err := drive(uint32(n), all)
	return &d, err
}

// drive describes the disk with number n.
func drive(n uint32, all []winVolume) (Device, error) {
	path := drivePrefix + strconv.Itoa(int(n))
	f, err := openHandle(path, 0, 0)
	if err != nil {
		return Device{}, err
	}
	defer f.Close()
	answer, err := ask(f, ioctlQueryProperty, make([]byte, propertyQueryLength))
	if err != nil {
		return Device{}, err
	}
	d, err := winDescriptor(answer)
	if err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	d.Path = path
	if answer, err = ask(f, ioctlGeometry, nil); err != nil {
		return d, nil // without a medium there is no size
	}
	if d.Size, d.SectorSize, err = winGeometry(answer); err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	_, err = ask(f, ioctlIsWritable, nil)
	d.ReadOnly = errors.Is(err, windows.ERROR_WRITE_PROTECT)
	d.use(n, all)
	return d, nil
}

// use adds the uses of the volumes on a disk. Windows mounts whatever is plugged in, so a
// mount alone is no use; openRaw locks the volumes.
func (d *Device) use(n uint32, all []winVolume) {
	for _, v := range all {
		if !slices.Contains(v.disks, n) {
			continue
		}
		d.Contents = append(d.Contents, content(strings.TrimSpace(strings.Join(v.paths, " ")+" "+v.kind), v.label, v.size))
		if v.system {
			d.System, d.Mounts = true, append(d.Mounts, v.paths...)
		}
	}
}

// winVolume is a mounted file system.
type winVolume struct {
	name   string // \\?\Volume{…}
	disks  []uint32
	paths  []string // E:\
	kind   string
	label  string
	size   int64
	system bool
}

func volumes() ([]winVolume, error) {
	var name [windows.MAX_PATH]uint16
	find, err := windows.FindFirstVolume(&name[0], uint32(len(name)))
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	defer windows.FindVolumeClose(find)
	var out []winVolume
	for err == nil {
		if v, ok := volumeOf(windows.UTF16ToString(name[:])); ok {
			out = append(out, v)
		}
		err = windows.FindNextVolume(find, &name[0], uint32(len(name)))
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	return out, nil
}

// volumeOf describes the volume with a name that ends in a backslash. It returns false for
// optical drives and empty readers, which have no extents.
func volumeOf(name string) (winVolume, bool) {
	v := winVolume{name: strings.TrimSuffix(name, `\`)}
	f, err := openHandle(v.name, 0, 0)
	if err != nil {
		return v, false
	}
	defer f.Close()
	answer, err := ask(f, ioctlVolumeExtents, nil)
	if err != nil {
		return v, false
	}
	if v.disks, err = winExtents(answer); err != nil {
		return v, false
	}
	root, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return v, false
	}
	var paths, label, kind [windows.MAX_PATH]uint16
	var n uint32
	if windows.GetVolumePathNamesForVolumeName(root, &paths[0], uint32(len(paths)), &n) == nil {
		v.paths = strings.FieldsFunc(string(utf16Text(paths[:n])), func(r rune) bool { return r == 0 })
	}
	if windows.GetVolumeInformation(root, &label[0], uint32(len(label)), nil, nil, nil, &kind[0], uint32(len(kind))) == nil {
		v.label, v.kind = windows.UTF16ToString(label[:]), windows.UTF16ToString(kind[:])
	}
	var total uint64
	if windows.GetDiskFreeSpaceEx(root, nil, &total, nil) == nil {
		v.size = int64(total)
	}
	home, err := windows.GetSystemWindowsDirectory()
	v.system = err != nil || slices.ContainsFunc(v.paths, func(p string) bool { return strings.HasPrefix(strings.ToUpper(home), strings.ToUpper(p)) })
	return v, true
}

// utf16Text converts s with its zeros, at which UTF16ToString would stop.
func utf16Text(s []uint16) []rune {
	out := make([]rune, len(s))
	for i, c := range s {
		out[i] = rune(c)
	}
	return out
}

// openHandle opens a device in shared mode.
func openHandle(path string, access, flags uint32) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, access, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// ask sends a control code and returns the answer.
func ask(f *os.File, code uint32, in []byte) ([]byte, error) {
	out := make([]byte, longestDriversAnswer)
	var n uint32
	var first *byte
	if len(in) > 0 {
		first = &in[0]
	}
	if err := windows.DeviceIoControl(windows.Handle(f.Fd()), code, first, uint32(len(in)), &out[0], uint32(len(out)), &n, nil); err != nil {
		return nil, &fs.PathError{Op: "ask", Path: f.Name(), Err: err}
	}
	return out[:n], nil
}

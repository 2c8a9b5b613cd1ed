package disks

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// StillComing reports whether there is a USB storage device whose disk the kernel does
// not show yet: it waits a second before it looks at one (usb-storage's delay_use), and
// some disks must spin up. A device that has shown itself as something else does not
// count, such as the CD that a modem pretends to be: the kernel in an initramfs makes no
// block device of it. sys is the content of /sys.
func StillComing(sys fs.FS) bool {
	const massStorage = "08"
	interfaces, _ := fs.Glob(sys, "bus/usb/devices/*/bInterfaceClass")
	for _, name := range interfaces {
		class, err := fs.ReadFile(sys, name)
		if err != nil || strings.TrimSpace(string(class)) != massStorage {
			continue
		}
		unit := path.Dir(name) + "/host*/target*/*"
		if shown, _ := fs.Glob(sys, unit+"/block/*"); len(shown) == 0 && !isOther(sys, unit+"/type") {
			return true
		}
	}
	return false
}

// isOther reports whether there are SCSI types (scsi/scsi_proto.h) and none of them is a
// disk's.
func isOther(sys fs.FS, pattern string) bool {
	types, _ := fs.Glob(sys, pattern)
	return len(types) > 0 && !slices.ContainsFunc(types, func(name string) bool {
		t, err := fs.ReadFile(sys, name)
		return err != nil || slices.Contains([]string{"0", "14", "20"}, strings.TrimSpace(string(t))) // the types that the driver sd takes
	})
}

package disks

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// StillComing says whether a disk is on USB of which the kernel shows no device yet:
// it waits a second before it looks at one (usb-storage's delay_use), and some spin up.
// What has shown itself as another thing is none: the CD that a modem pretends to be, of
// which the kernel in an initramfs makes no device.
// sys is what is at /sys.
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

// isOther says whether there are types of SCSI's (scsi/scsi_proto.h), and none of a disk.
func isOther(sys fs.FS, pattern string) bool {
	types, _ := fs.Glob(sys, pattern)
	return len(types) > 0 && !slices.ContainsFunc(types, func(name string) bool {
		t, err := fs.ReadFile(sys, name)
		return err != nil || slices.Contains([]string{"0", "14", "20"}, strings.TrimSpace(string(t))) // those that sd takes
	})
}

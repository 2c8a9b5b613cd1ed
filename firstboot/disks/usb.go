package disks

import (
	"io/fs"
	"path"
	"strings"
)

// StillComing says whether a disk is on USB of which the kernel shows no device yet:
// it waits a second before it looks at one (usb-storage's delay_use), and some spin up.
// sys is what is at /sys.
func StillComing(sys fs.FS) bool {
	const massStorage = "08"
	interfaces, _ := fs.Glob(sys, "bus/usb/devices/*/bInterfaceClass")
	for _, name := range interfaces {
		class, err := fs.ReadFile(sys, name)
		if err != nil || strings.TrimSpace(string(class)) != massStorage {
			continue
		}
		if shown, _ := fs.Glob(sys, path.Dir(name)+"/host*/target*/*/block/*"); len(shown) == 0 {
			return true
		}
	}
	return false
}

package initramfs

import (
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
)

// loaderGUID is the vendor GUID of the boot loader interface's variables.
const loaderGUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// loader is what the boot loader and the firmware say about this start.
type loader struct {
	uefi    bool   // the firmware is UEFI
	espUUID string // PARTUUID of the ESP that the boot loader came from
	trial   bool   // the boot loader counts this start
	medium  efiboot.Medium
}

// readLoader asks systemd-boot, through the variables of its boot loader interface, and the
// firmware. Without UEFI nothing is known.
func readLoader() (l loader) {
	if _, err := os.Stat(filepath.Dir(efivarsDir)); err != nil {
		return l
	}
	_, _ = mount.Mount("efivarfs", efivarsDir, "efivarfs", "", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	// systemd mounts efivarfs again, writable; a second mount in the same place would hide ours.
	defer unix.Unmount(efivarsDir, unix.MNT_DETACH)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(efivarsDir, name+"-"+loaderGUID))
		if err != nil {
			return ""
		}
		return efiString(b)
	}
	return loader{true, read("LoaderDevicePartUUID"), read("LoaderBootCountPath") != "", efiboot.Started(efivars{})}
}

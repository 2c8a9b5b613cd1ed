package initramfs

import (
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// readLoader asks systemd-boot, through the variables of its boot loader
// interface, for the PARTUUID of the ESP it came from and whether it counts
// this boot as a trial. Both are empty under any other firmware.
func readLoader() (espUUID string, trial bool) {
	const dir = "/sys/firmware/efi/efivars"
	if _, err := os.Stat("/sys/firmware/efi"); err != nil {
		return "", false
	}
	_, _ = mount.Mount("efivarfs", dir, "efivarfs", "", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	// systemd mounts it again, writable; twice in one place would hide ours.
	defer unix.Unmount(dir, unix.MNT_DETACH)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name+"-"+loaderGUID))
		if err != nil {
			return ""
		}
		return efiString(b)
	}
	return read("LoaderDevicePartUUID"), read("LoaderBootCountPath") != ""
}

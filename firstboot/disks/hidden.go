package disks

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Hidden counts the NVMe disks that no driver can reach. With "RAID On" (Intel RST) the
// firmware removes them from the PCI bus and maps them into the memory of the SATA
// controller; its driver, ahci, counts them in remapped_nvme. The firmware itself still
// boots from such a disk. sys is the content of /sys.
func Hidden(sys fs.FS) (n int) {
	files, _ := fs.Glob(sys, "bus/pci/devices/*/remapped_nvme")
	for _, name := range files {
		text, err := fs.ReadFile(sys, name)
		if count, bad := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bad == nil {
			n += count
		}
	}
	return n
}

// UnhideWords say in words for a person what n hidden disks are, and what to do. Dell
// calls the setting SATA Operation, others SATA Mode or Storage.
func UnhideWords(n int) (what, do string) {
	them := "an NVMe disk"
	if n > 1 {
		them = fmt.Sprintf("%d NVMe disks", n)
	}
	return "This computer hides " + them + " behind its RAID setting.",
		"Switch it off and on, press F2 at once (Dell; others F1, F10 or Del), set SATA Operation to AHCI in the BIOS, save."
}

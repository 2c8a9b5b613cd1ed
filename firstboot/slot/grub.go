package slot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// GRUB, which starts the disk where a PC has a BIOS, reads the names of entries as systemd-boot
// does, but cannot change them. It counts tries in a file.
const (
	// GRUBScript chooses the slot. If it is there, GRUB may start this disk.
	GRUBScript = "grub/grub.cfg"
	// CountFile is overwritten in place, by GRUB at a try and by the node before a trial. The node
	// has to clear it: once the files of a failed trial are removed, its generation may be used
	// again.
	CountFile = "grub/grubenv"
	// OptionsFile, in a slot's directory, sets the GRUB variable options, its kernel's arguments.
	OptionsFile = "grub.cfg"
)

// GRUB's environment block has 1024 bytes (GRUB's manual, "The GRUB environment block").
const (
	envMark = "# GRUB Environment Block\n"
	envSize = 1024
)

// kits demands files that serve both boot loaders if GRUB may start this disk.
func (e efi) kits() [][]string {
	both := []string{Initrd, OptionsFile, Kernel, Entry}
	if exists(filepath.Join(e.dir, filepath.FromSlash(GRUBScript))) {
		return [][]string{both}
	}
	return [][]string{{Unified}, {Initrd, Kernel, Entry}, both}
}

// CountEnv returns the content of CountFile: how often the entry of a generation and slot, such as
// "2-b", was tried. An empty entry means that no try was counted.
func CountEnv(entry string, tries int) []byte {
	if entry == "" {
		return envBlock("")
	}
	return envBlock(fmt.Sprintf("tried=%s\ntries=%d\n", entry, tries))
}

func envBlock(vars string) []byte {
	text := envMark + vars
	return append([]byte(text), bytes.Repeat([]byte("#"), envSize-len(text))...)
}

// GRUBElsewhere is a variable of CountFile: the PARTUUID of the boot partition of another disk,
// which GRUB starts in place of this one.
const GRUBElsewhere = "elsewhere"

// StartElsewhere makes GRUB start another disk, given by its boot partition's PARTUUID, instead of
// the disk whose boot partition is mounted at bootDir. It does nothing where GRUB does not start
// that disk.
func StartElsewhere(bootDir, partUUID string) error {
	if !exists(filepath.Join(bootDir, filepath.FromSlash(GRUBScript))) {
		return nil
	}
	return overwrite(filepath.Join(bootDir, filepath.FromSlash(CountFile)), envBlock(GRUBElsewhere+"="+partUUID+"\n"))
}

// counted returns how many tries of an entry GRUB has counted. It is 0 where GRUB does not count or
// the file makes no sense, as GRUB itself sees it.
func (e efi) counted(n EFIName) int {
	data, err := os.ReadFile(filepath.Join(e.dir, filepath.FromSlash(CountFile)))
	if err != nil || !bytes.HasPrefix(data, []byte(envMark)) {
		return 0
	}
	vars := parseEnv(data)
	tries, err := strconv.Atoi(vars["tries"])
	if err != nil || vars["tried"] != fmt.Sprintf("%d-%s", n.Generation, n.Slot) {
		return 0
	}
	return max(0, tries)
}

// forgetCount clears the count of an earlier entry. GRUB can overwrite the file but not create it,
// and it never starts a trial that it cannot count.
func (e efi) forgetCount() error {
	if !exists(filepath.Join(e.dir, filepath.FromSlash(GRUBScript))) {
		return nil
	}
	return overwrite(filepath.Join(e.dir, filepath.FromSlash(CountFile)), CountEnv("", 0))
}

// settle puts into an entry's name that GRUB has counted all of its tries: systemd-boot, which may
// start this disk too, knows the name only.
func (e efi) settle(n entry) error {
	used := e.counted(n.EFIName)
	if !n.Counted || n.Left == 0 || used < n.Left {
		return nil
	}
	n.Left, n.Done = 0, n.Done+n.Left
	return e.rename(n)
}

package slot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// GRUB, where a PC's BIOS starts it, goes by the names of entries as systemd-boot
// does, but cannot change them. It counts tries in a file.
const (
	// GRUBScript chooses the slot. Where it is, GRUB may start this disk.
	GRUBScript = "grub/grub.cfg"
	// CountFile is overwritten in place, by GRUB at a try and by the node before a
	// trial: whoever removed what failed may give its generation again.
	CountFile = "grub/grubenv"
	// OptionsFile, in a slot's directory, sets options, its kernel's arguments.
	OptionsFile = "grub.cfg"
)

// A block of GRUB's variables has 1024 bytes (GRUB's manual, "The GRUB
// environment block").
const (
	envMark = "# GRUB Environment Block\n"
	envSize = 1024
)

// kits: where GRUB may start this disk, it needs what systemd-boot does not read.
func (e efi) kits() [][]string {
	both := []string{Initrd, OptionsFile, Kernel, Entry}
	if exists(filepath.Join(e.dir, filepath.FromSlash(GRUBScript))) {
		return [][]string{both}
	}
	return [][]string{{Unified}, {Initrd, Kernel, Entry}, both}
}

// CountEnv is the content of CountFile: how often the entry of a generation and
// slot, such as "2-b", was tried.
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

// GRUBElsewhere is the variable of CountFile with the PARTUUID of the boot partition
// of another disk, which GRUB starts in place of this one.
const GRUBElsewhere = "elsewhere"

// StartElsewhere makes GRUB, where it may start the disk of this boot partition, start
// another one, by its boot partition's PARTUUID.
func StartElsewhere(bootDir, partUUID string) error {
	if !exists(filepath.Join(bootDir, filepath.FromSlash(GRUBScript))) {
		return nil
	}
	return overwrite(filepath.Join(bootDir, filepath.FromSlash(CountFile)), envBlock(GRUBElsewhere+"="+partUUID+"\n"))
}

// counted is how many tries of an entry GRUB has counted. Where it does not
// count, or nonsense, there is none: GRUB takes it so, too.
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

// forgetCount makes an earlier count that of no entry. GRUB overwrites the file,
// but cannot make one: a trial that it cannot count is never taken.
func (e efi) forgetCount() error {
	if !exists(filepath.Join(e.dir, filepath.FromSlash(GRUBScript))) {
		return nil
	}
	return overwrite(filepath.Join(e.dir, filepath.FromSlash(CountFile)), CountEnv("", 0))
}

// settle writes into the name of an entry that GRUB has counted all its tries:
// systemd-boot, which may start this disk too, knows the name only.
func (e efi) settle(n entry) error {
	used := e.counted(n.EFIName)
	if !n.Counted || n.Left == 0 || used < n.Left {
		return nil
	}
	n.Left, n.Done = 0, n.Done+n.Left
	return e.rename(n)
}

package slot

import "path"

// Files that start a slot, by the names that an update gives them.
const (
	Initrd  = "initrd.img"
	Cmdline = "cmdline.txt"
	Kernel  = "vmlinuz"
	// Entry and Unified lie where systemd-boot looks for them. All others, OptionsFile included,
	// lie in a directory named after the slot.
	Entry   = "entry"
	Unified = "uki"
)

// Files lists all of them in the order in which they are written: as long as the last file that a
// boot loader needs is missing, it cannot start the slot.
var Files = []string{Initrd, Cmdline, OptionsFile, Kernel, Entry, Unified}

// Place returns where a file of the slot called name lies on the boot partition. generation matters
// to systemd-boot only: 1 is that of a new image; 0 sorts behind all others and is never good,
// which is what a slot has before its trial.
func Place(file, name string, generation int) string {
	switch file {
	case Entry, Unified:
		return EFIName{Generation: generation, Slot: name, Entry: file == Entry}.Path()
	}
	return path.Join(name, file)
}

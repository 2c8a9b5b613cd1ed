package slot

import "path"

// What starts a slot, by the names that an update gives it.
const (
	Initrd  = "initrd.img"
	Cmdline = "cmdline.txt"
	Kernel  = "vmlinuz"
	// Entry and Unified lie where systemd-boot looks for them; all others, with
	// OptionsFile, in a directory of the slot's name.
	Entry   = "entry"
	Unified = "uki"
)

// Files are all of them, in the order in which they are written: while the last
// one that a boot loader needs is missing, it cannot start the slot.
var Files = []string{Initrd, Cmdline, OptionsFile, Kernel, Entry, Unified}

// Place is where a file of a slot lies on the boot partition. systemd-boot goes by
// the generation: 1 is that of a new image, 0 comes behind all others and is good
// for nobody, which is what a slot has before its trial.
func Place(file, name string, generation int) string {
	switch file {
	case Entry, Unified:
		return EFIName{Generation: generation, Slot: name, Entry: file == Entry}.Path()
	}
	return path.Join(name, file)
}

// Package initramfs is PID 1 of an image's initramfs: it loads the modules,
// arms the watchdog, finds the disk it came from, mounts the slot's squashfs,
// makes and grows the other partitions at first boot, repairs and mounts the
// data partition, lays a writable /etc over the read-only one and hands over
// to systemd.
//
// It asks the disk, not a journal, what is still to be done, so that a power
// cut at any moment is answered by starting again. It refuses to write to a
// disk that is not its own and to format a data partition that was formatted
// before, whatever state that is in: then it says on every console in plain
// words what a person has to do, and waits.
package initramfs

// Files of the initramfs that image/boot puts beside /init.
const (
	// ModuleList names the modules in the order of loading, one a line: the
	// path, and the names of the modules without which it cannot be loaded.
	ModuleList = "/modules.list"
	// EpochFile holds the time of the build in decimal seconds since 1970:
	// no clock is allowed to be earlier.
	EpochFile = "/epoch"
	// BuildFile holds one line that names the image, for error pages.
	BuildFile = "/build"
)

// PersistList is the file of the root that lists what of /etc may outlive an
// image: one path a line, absolute ("/etc/hostname") with * as in path.Match;
// a line that ends in "/" keeps everything below. Blank lines and lines that
// begin with # say nothing. Without the file everything stays.
const PersistList = "usr/lib/imagebuilder/etc-persist"

// StateFile tells the running system what happened here, as JSON (State).
const StateFile = "/run/imagebuilder/boot.json"

// RepairFile on the boot partition lets e2fsck -y have its way once, where a
// careful check has given up. The person who puts it there was told so by the
// page on the screen.
const RepairFile = "repair.txt"

// State is what the initramfs did, for firstboot and for tests.
type State struct {
	Slot      string `json:"slot"`
	Trial     bool   `json:"trial"`
	Disk      string `json:"disk"`      // kernel name, such as mmcblk1
	DiskID    string `json:"diskId"`    // GPT GUID or MBR signature
	Formatted bool   `json:"formatted"` // the data partition was made at this boot
	Repaired  bool   `json:"repaired"`  // e2fsck changed something
	Watchdog  int    `json:"watchdogSeconds"`
	Clock     bool   `json:"clockSet"` // the clock was before the build
}

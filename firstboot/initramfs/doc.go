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

// State is what the initramfs did, as contract.StateFile tells it.
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

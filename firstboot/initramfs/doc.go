// Package initramfs is PID 1 of an image's initramfs. It loads the modules, arms the watchdog,
// finds the disk it came from, mounts the slot's squashfs, creates and grows the other partitions
// at first boot, repairs and mounts the data partition, or the disk that node.yaml gives the node
// for its data, lays a writable /etc over the read-only one and hands over to systemd.
//
// From a stick whose node.yaml says so, it copies the system onto a disk of the computer instead,
// and restarts from that disk. After that the stick is no longer a boot disk: no firmware starts it
// again, whatever it prefers.
//
// What is still to be done is read from the disk itself, not from a journal, so that after a power
// cut at any moment it is enough to start again. The package refuses to write to a disk that is not
// its own, to format a data partition that was formatted before, whatever its state, and to start a
// node without data that it once had. In these cases it says in plain words, on every console and
// in STATUS.TXT, what a person has to do, and waits. It records its progress in STAGE.TXT, for
// whoever reads the card of a node that shows nothing.
package initramfs

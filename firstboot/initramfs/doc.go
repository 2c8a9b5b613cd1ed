// Package initramfs is PID 1 of an image's initramfs: it loads the modules,
// arms the watchdog, finds the disk it came from, mounts the slot's squashfs,
// makes and grows the other partitions at first boot, repairs and mounts the
// data partition, or a disk that node.yaml gives the node for its data, lays a
// writable /etc over the read-only one and hands over to systemd.
//
// From a stick whose node.yaml says so it copies the system onto a disk of the
// computer instead, and restarts from that. The stick is no boot disk any more then:
// no firmware starts it again, whatever it prefers.
//
// It asks the disk, not a journal, what is still to be done, so that a power
// cut at any moment is answered by starting again. It refuses to write to a
// disk that is not its own, to format a data partition that was formatted
// before, whatever state that is in, and to start a node without data that it
// once had: then it says on every console and in STATUS.TXT in plain words what
// a person has to do, and waits. How far it comes it writes to STAGE.TXT, for the
// card of a node that stays dark.
package initramfs

package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// A node whose data is on a disk of its own remembers which one: in the first
// sector of the data partition on the boot disk, whose type says that there is
// nothing else. node.yaml is not asked any more. It may be spoilt, and what it
// says may have changed, but the node's identity is where it is.

// leavesCard decides whether a disk of its own takes the place of the boot
// disk's data partition: never where a node has its identity there.
func leavesCard(owned bool, cfg *node.Config) bool {
	return !owned && cfg.DataDisk != (node.Disk{})
}

// mayCome reports whether another disk that could be meant may still appear, so long
// after the search began; usb says that one on USB is on its way. A pattern has to wait
// for the slowest, once in a node's life. A known disk is met at every start: it waits
// a second for its copy, if there is one, and longer only for what is seen to come.
func mayCome(w disks.Want, since time.Duration, usb bool) bool {
	const spinUp, settle = time.Minute, time.Second
	switch {
	case w.Known != "":
		return since < settle || usb && since < slowBus
	case w.Spec.Path == "":
		return since < spinUp
	}
	return since < slowBus
}

const elsewhereWords = "imagebuilder: the data is on disk %s\n"

var errRecord = errors.New("what the boot disk says about the data disk cannot be read")

// recordDisk is done when power may go: first what to remember, then the type
// that makes it count.
func recordDisk(d ptable.Disk, t *ptable.Table, id string) error {
	done := t.Clone()
	data := done.Entry(contract.PartData)
	sector := make([]byte, t.SectorSize)
	copy(sector, fmt.Sprintf(elsewhereWords, id))
	if _, err := d.WriteAt(sector, int64(data.First)*t.SectorSize); err != nil {
		return fmt.Errorf("remember the data disk: %w", err)
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("remember the data disk: %w", err)
	}
	data.Type = done.Scheme.ElsewhereType()
	return done.Write(d)
}

// recordedDisk returns the ID of the data disk.
func recordedDisk(r io.ReaderAt, t *ptable.Table) (id string, err error) {
	sector := make([]byte, t.SectorSize)
	if _, err := r.ReadAt(sector, int64(t.Entry(contract.PartData).First)*t.SectorSize); err != nil {
		return "", fmt.Errorf("%w: %w", errRecord, err)
	}
	line, _, _ := bytes.Cut(sector, []byte("\n"))
	if _, err := fmt.Sscanf(string(line)+"\n", elsewhereWords, &id); err != nil {
		return "", errRecord
	}
	return id, nil
}

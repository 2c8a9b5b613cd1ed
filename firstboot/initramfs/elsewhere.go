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

// A node with a separate data disk remembers which disk that is: in the first sector of the data
// partition on the boot disk, whose partition type says that it holds nothing else. node.yaml is
// not asked any more: it may be spoilt, or may have changed, but the node's identity is where it
// is.

// leavesCard decides whether a separate disk takes the place of the boot disk's data partition:
// never if a node has its identity there.
func leavesCard(owned bool, cfg *node.Config) bool {
	return !owned && cfg.DataDisk != (node.Disk{})
}

// mayCome reports whether another matching disk may still appear, at a time since after the search
// began. usb says that a USB disk is on its way. For a pattern it waits for the slowest disk, once
// in a node's life. A known disk is looked for at every start: there it waits a second for a
// possible copy of the disk, and longer only for a disk that is seen to come.
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

// recordDisk survives a power cut at any moment: it first writes the record, then the type that
// makes it count.
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

// recordedDisk returns the recorded ID of the data disk.
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

package initramfs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

const alignment = 4 << 20 // erase blocks of SD cards, and then some

// dataState says what the partition table knows about the data partition.
type dataState int

const (
	// dataReady: the partition was formatted once. It is never formatted again.
	dataReady dataState = iota
	// dataPending: mkfs is not known to have ever finished.
	dataPending
	// dataElsewhere: the node's data is on a separate disk.
	dataElsewhere
)

// errNotOurs is returned for a table that no image of this project has. Such a disk is never
// written to.
var errNotOurs = errors.New("the disk does not have the partitions of an imagebuilder image")

// errTooSmall is returned for a disk that cannot hold both slots and data.
var errTooSmall = errors.New("the disk is too small")

// arrange returns the table that the disk should have: root-a as long as a slot, root-b after it,
// data up to the end of the disk. It does not change t. If the tables are equal, nothing is to be
// done. Existing partitions never move and never shrink.
func arrange(t *ptable.Table, slotBytes int64, newID func() string) (*ptable.Table, error) {
	if err := checkOurs(t); err != nil {
		return nil, err
	}
	want := t.Clone()
	slot := uint64(slotBytes / t.SectorSize)
	if want.Entry(contract.PartRootB) == nil {
		if err := addRootB(want, slot, newID); err != nil {
			return nil, err
		}
	}
	if data := want.Entry(contract.PartData); data != nil {
		data.Sectors = max(data.Sectors, want.Room(data.First, alignment))
		return want, nil
	}
	return want, addData(want, newID)
}

func stateOf(t *ptable.Table, data *ptable.Entry) dataState {
	switch data.Type {
	case t.Scheme.PendingType():
		return dataPending
	case t.Scheme.ElsewhereType():
		return dataElsewhere
	}
	return dataReady
}

// addRootB grows root-a to a whole slot and puts root-b after it.
func addRootB(t *ptable.Table, slot uint64, newID func() string) error {
	a := t.Entry(contract.PartRootA)
	slot = alignUp(t, max(slot, a.Sectors))
	b := ptable.Entry{Number: contract.PartRootB, Type: a.Type, Name: contract.NameRootB, Attributes: a.Attributes &^ 0x80}
	if t.Scheme == contract.GPT {
		b.ID = newID()
	} else {
		b.ID = fmt.Sprintf("%s-%02x", t.ID, contract.PartRootB)
	}
	b.First = alignUp(t, a.First+slot)
	b.Sectors = slot
	a.Sectors = b.First - a.First
	if data := t.Entry(contract.PartData); data != nil && data.First < b.End() {
		return fmt.Errorf("%w: there is no room for root-b before the data partition", errNotOurs)
	}
	if b.End() > t.LastUsable() {
		return tooSmall(t, b.End())
	}
	t.Put(b)
	return nil
}

// addData puts an unformatted data partition after root-b.
func addData(t *ptable.Table, newID func() string) error {
	first := alignUp(t, t.Entry(contract.PartRootB).End())
	data := ptable.Entry{Number: contract.PartData, Type: t.Scheme.PendingType(), Name: contract.NameData, First: first, Sectors: t.Room(first, alignment)}
	if t.Scheme == contract.GPT {
		data.ID = newID()
	} else {
		data.ID = fmt.Sprintf("%s-%02x", t.ID, contract.PartData)
	}
	if int64(data.Sectors)*t.SectorSize < contract.MinData {
		return tooSmall(t, first)
	}
	t.Put(data)
	return nil
}

func tooSmall(t *ptable.Table, dataFirst uint64) error {
	const gb = 1e9
	have := float64(t.Sectors) * float64(t.SectorSize) / gb
	need := (float64(dataFirst)*float64(t.SectorSize) + contract.MinData) / gb
	return fmt.Errorf("%w: it holds %.1f GB and this image needs at least %.1f GB", errTooSmall, have, need)
}

func alignUp(t *ptable.Table, sector uint64) uint64 {
	unit := uint64(alignment / t.SectorSize)
	return (sector + unit - 1) / unit * unit
}

// checkOurs accepts the table of an image in any state that a first boot may leave it in.
func checkOurs(t *ptable.Table) error {
	boot, a, b, data := t.Entry(contract.PartBoot), t.Entry(contract.PartRootA), t.Entry(contract.PartRootB), t.Entry(contract.PartData)
	switch {
	case boot == nil || a == nil:
		return fmt.Errorf("%w: it has no boot partition or no root-a", errNotOurs)
	case boot.Type != t.Scheme.BootType() || !t.Scheme.IsRoot(a.Type, a.Name, contract.NameRootA):
		return fmt.Errorf("%w: partition 1 has type %s, partition 2 has type %s", errNotOurs, boot.Type, a.Type)
	case a.First < boot.End():
		return fmt.Errorf("%w: root-a lies before the boot partition", errNotOurs)
	case b != nil && !t.Scheme.IsRoot(b.Type, b.Name, contract.NameRootB):
		return fmt.Errorf("%w: partition 3 has type %s", errNotOurs, b.Type)
	case data != nil && !slices.Contains([]string{t.Scheme.PendingType(), t.Scheme.DataType(), t.Scheme.ElsewhereType()}, data.Type):
		return fmt.Errorf("%w: partition 4 has type %s", errNotOurs, data.Type)
	case data != nil && b == nil:
		return fmt.Errorf("%w: it has data but no root-b", errNotOurs)
	}
	return nil
}

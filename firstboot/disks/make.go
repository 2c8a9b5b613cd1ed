package disks

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// ownPart is the number of the single partition on a node's own disk.
const ownPart = 1

// makeOwn turns a disk into a node's own. The disk is blank, or an earlier
// makeOwn was interrupted on it. It writes the mark in one sector, then a table
// that nobody sees yet, then a file system, and last the first sector again,
// which makes both visible and says that it is done. Power may fail at any
// moment: until that last sector is written no computer shows a partition, so
// nobody can have put anything into one when the work begins again. format must
// return only when the file system in the table's one partition is on stable
// storage.
func makeOwn(d ptable.Disk, size, sector int64, m mark, newID func() string, format func(*ptable.Table) error) error {
	m.done = false
	sector0 := append(m.encode(), make([]byte, sector-bootCode)...)
	if err := writeSynced(d, sector0); err != nil {
		return err
	}
	t := ptable.New(size, sector, newID(), sector0)
	first := uint64(alignment / sector)
	t.Put(ptable.Entry{Number: ownPart, Type: m.purpose.partType(), ID: newID(), Name: string(m.purpose), First: first, Sectors: t.Room(first, alignment)})
	sector0, err := t.WriteUnseen(d)
	if err != nil {
		return err
	}
	if err := format(t); err != nil {
		return fmt.Errorf("format the disk: %w", err)
	}
	m.done = true
	copy(sector0, m.encode())
	return writeSynced(d, sector0)
}

func writeSynced(d ptable.Disk, sector0 []byte) error {
	if _, err := d.WriteAt(sector0, 0); err != nil {
		return fmt.Errorf("write the mark: %w", err)
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write the mark: %w", err)
	}
	return nil
}

// settle brings the table of a finished disk into its final form, and extends
// its partition to the end of the disk: the disk may be a copy of a smaller
// one.
func settle(d ptable.Disk, t *ptable.Table) (*ptable.Table, error) {
	want := t.Clone()
	e := want.Entry(ownPart)
	e.Sectors = max(e.Sectors, want.Room(e.First, alignment))
	if !t.Stale && e.Sectors == t.Entry(ownPart).Sectors {
		return want, nil
	}
	return want, want.Write(d)
}

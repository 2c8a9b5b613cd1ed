// Package ptable reads and rewrites the partition table of the node's own
// disk, GPT or MBR, so that first boot can make room without any tool.
//
// Table.Write leaves a valid table behind whenever the power goes: an MBR is
// one sector, and of a GPT the copy that was not read from is written first.
// Only the partition table is touched, never the content of a partition. It
// refuses extended MBR partitions, hybrid MBRs and tables larger than 1024
// entries: nothing that this project makes has them.
package ptable

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// Disk is a block device, or a file that stands for one. Sync returns when
// everything written before is on stable storage.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

const (
	typeEmpty   = "00" // of an MBR's unused entry
	typeProtect = "ee" // of the MBR before a GPT
)

// Entry is one partition. First and Sectors count logical sectors.
type Entry struct {
	// Number is what the kernel calls it, from 1.
	Number int
	// Type is one of package contract's or any other, in the same notation.
	Type string
	// ID is the PARTUUID, in lower case. On MBR it follows from the table's
	// ID and the number.
	ID string
	// Name is the label of a GPT entry.
	Name    string
	First   uint64
	Sectors uint64
	// Attributes are GPT's bits or, on MBR, the boot indicator.
	Attributes uint64
}

// End returns the first sector after the partition.
func (e Entry) End() uint64 { return e.First + e.Sectors }

// Table is a partition table in memory.
type Table struct {
	Scheme contract.Scheme
	// ID is the disk's GUID, or the MBR's signature as eight hex digits.
	ID string
	// SectorSize is the size of a logical sector in bytes: 512 or 4096.
	SectorSize int64
	// Sectors is the size of the disk that the table is for, which after
	// flashing is more than the table knows about.
	Sectors uint64
	// Entries are sorted by number; unused numbers are absent.
	Entries []Entry
	// Stale is true when the table on the disk is not in the form in which
	// Write leaves it: a copy of a GPT is damaged, differs, or lies short of
	// the disk's end.
	Stale bool

	sector0     []byte // as read: boot code, and what else is there
	slots       uint32 // entries that a GPT has room for
	firstUsable uint64
	fromBackup  bool
}

// ErrNone says that there is no partition table that this package reads.
var ErrNone = errors.New("no partition table")

// ErrTooShort says that a table has partitions behind the end of the disk: it was made
// for a larger one, of which this is a copy.
var ErrTooShort = errors.New("the disk is shorter than its table of partitions")

// Read parses the table of a disk of size bytes with the given logical sector
// size. It returns an error wrapping ErrNone for a disk without one, and
// another for a table that contradicts itself or the disk.
func Read(r io.ReaderAt, size, sector int64) (*Table, error) {
	if sector != 512 && sector != 4096 {
		return nil, fmt.Errorf("sectors of %d bytes are not supported", sector)
	}
	sector0 := make([]byte, sector)
	if size < 8*sector {
		return nil, fmt.Errorf("%w: the disk has %d bytes", ErrNone, size)
	}
	if err := readAt(r, sector0, 0); err != nil {
		return nil, fmt.Errorf("read the partition table: %w", err)
	}
	t := &Table{SectorSize: sector, Sectors: uint64(size / sector), sector0: sector0}
	if isProtective(sector0) {
		return t, t.readGPT(r)
	}
	return t, t.readMBR()
}

// New returns an empty GPT for a disk without a table. Of sector0, what the
// disk has there, the boot code stays.
func New(size, sector int64, id string, sector0 []byte) *Table {
	t := &Table{Scheme: contract.GPT, ID: id, SectorSize: sector, Sectors: uint64(size / sector), sector0: sector0, slots: 128}
	t.firstUsable = 2 + t.entrySectors()
	return t
}

// Write puts the table on the disk. Whatever moment the power goes at, Read
// finds either the old table or the new one.
func (t *Table) Write(d Disk) error {
	if err := t.check(); err != nil {
		return err
	}
	if t.Scheme == contract.GPT {
		return t.writeGPT(d)
	}
	return t.writeMBR(d)
}

// WriteUnseen puts all of a GPT on the disk but its first sector, without which
// neither firmware nor kernel look for it, and returns that: who writes it last
// makes a whole disk appear at once.
func (t *Table) WriteUnseen(d Disk) (sector0 []byte, err error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if t.Scheme != contract.GPT {
		return nil, fmt.Errorf("a table of kind %s is nothing but its first sector", t.Scheme)
	}
	entries, err := t.encodeEntries()
	if err != nil {
		return nil, err
	}
	for _, write := range []func() error{t.backup(d, entries), t.primary(d, entries)} {
		if err := write(); err != nil {
			return nil, fmt.Errorf("write the partition table: %w", err)
		}
	}
	return t.protective(), nil
}

// For returns the table for another disk, of size bytes, under another ID. Its
// partitions, and what else is in the first sector, are the same.
func (t *Table) For(size int64, id string) *Table {
	c := t.Clone()
	c.ID, c.Sectors = id, uint64(size/t.SectorSize)
	c.Stale, c.fromBackup = false, false
	return c
}

// Entry returns the partition with the given number, or nil.
func (t *Table) Entry(number int) *Entry {
	for i := range t.Entries {
		if t.Entries[i].Number == number {
			return &t.Entries[i]
		}
	}
	return nil
}

// Clone returns a copy whose entries may be changed.
func (t *Table) Clone() *Table {
	c := *t
	c.Entries = slices.Clone(t.Entries)
	return &c
}

// Put adds or replaces the entry with e's number.
func (t *Table) Put(e Entry) {
	if have := t.Entry(e.Number); have != nil {
		*have = e
		return
	}
	t.Entries = append(t.Entries, e)
	slices.SortFunc(t.Entries, func(a, b Entry) int { return a.Number - b.Number })
}

// LastUsable returns the last sector that a partition may contain. It depends
// on the disk's real size, not on the size the table was made for.
func (t *Table) LastUsable() uint64 {
	if t.Scheme == contract.MBR {
		return min(t.Sectors, 1<<32) - 1 // 32-bit sector numbers end there
	}
	return t.Sectors - t.entrySectors() - 2
}

// FirstUsable returns the first sector that a partition may contain.
func (t *Table) FirstUsable() uint64 {
	if t.Scheme == contract.MBR {
		return 1
	}
	return t.firstUsable
}

// Room returns how many sectors are free from first to the end of the disk or
// to the next partition, in whole units of so many bytes.
func (t *Table) Room(first uint64, unit int64) uint64 {
	end := t.LastUsable() + 1
	for _, e := range t.Entries {
		if e.First > first {
			end = min(end, e.First)
		}
	}
	end -= end % uint64(unit/t.SectorSize)
	if end <= first {
		return 0
	}
	return end - first
}

// check refuses entries that overlap or leave the disk.
func (t *Table) check() error {
	byStart := slices.Clone(t.Entries)
	slices.SortFunc(byStart, func(a, b Entry) int {
		switch {
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return a.Number - b.Number
	})
	next := t.FirstUsable()
	for _, e := range byStart {
		if e.Sectors == 0 || e.End() < e.First {
			return fmt.Errorf("partition %d has no sectors, or too many: %d from sector %d on", e.Number, e.Sectors, e.First)
		}
		if e.End()-1 > t.LastUsable() {
			return fmt.Errorf("%w: partition %d (sectors %d to %d) does not fit the disk of %d sectors", ErrTooShort, e.Number, e.First, e.End()-1, t.Sectors)
		}
		if e.First < next {
			return fmt.Errorf("partition %d begins at sector %d, inside of another or of the table", e.Number, e.First)
		}
		next = e.End()
	}
	return nil
}

// readAt fills p; a short read is an error even at the end of the disk.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Package ptable reads and rewrites the partition table of a node's disk, GPT
// or MBR, so that the first boot can make room without any other program.
//
// Table.Write leaves a valid table whenever the power fails: an MBR is a single
// sector, and of a GPT it first writes the copy that was not read from. It
// touches only the partition table, never the content of a partition. The
// package refuses extended MBR partitions, hybrid MBRs and tables of more than
// 1024 entries: nothing that this project makes has them.
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
	typeEmpty   = "00" // an unused entry of an MBR
	typeProtect = "ee" // the MBR in front of a GPT
)

// Entry is one partition. First and Sectors count logical sectors.
type Entry struct {
	// Number is the kernel's number of the partition, from 1.
	Number int
	// Type is one of package contract's types or another one, in the same
	// notation.
	Type string
	// ID is the PARTUUID, in lower case. In an MBR it follows from the table's
	// ID and the number.
	ID string
	// Name is the label of a GPT entry, "" in an MBR.
	Name    string
	First   uint64
	Sectors uint64
	// Attributes are GPT's attribute bits or, in an MBR, the boot indicator.
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
	// Sectors is the size of the disk in sectors, which after flashing is
	// larger than what the table on the disk was made for.
	Sectors uint64
	// Entries are sorted by number; unused numbers are absent.
	Entries []Entry
	// Stale means that the table on the disk is not in the form in which Write
	// leaves it: a copy of a GPT is damaged, differs, or is not at the disk's
	// end.
	Stale bool

	sector0     []byte // as read: boot code, and anything else that is there
	slots       uint32 // how many entries a GPT has room for
	firstUsable uint64
	fromBackup  bool
}

// ErrNone means that there is no partition table that this package reads.
var ErrNone = errors.New("no partition table")

// ErrTooShort means that a table has partitions beyond the end of the disk: the
// disk is a copy of a larger one.
var ErrTooShort = errors.New("the disk is shorter than its table of partitions")

// Read parses the table of a disk of size bytes with logical sectors of sector
// bytes. For a disk without a table the error wraps ErrNone. For a table that
// contradicts itself or the disk it is another error, and the table may come
// with it.
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

// New returns an empty GPT for a disk without a table. sector0 is the disk's
// first sector, whose boot code stays.
func New(size, sector int64, id string, sector0 []byte) *Table {
	t := &Table{Scheme: contract.GPT, ID: id, SectorSize: sector, Sectors: uint64(size / sector), sector0: sector0, slots: 128}
	t.firstUsable = 2 + t.entrySectors()
	return t
}

// Write puts the table on the disk. Whenever the power fails, Read afterwards
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

// WriteUnseen writes a GPT except for the disk's first sector, and returns that
// sector. Without it neither firmware nor kernel look for a GPT: the caller
// writes it last, and a whole disk appears at once.
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

// For returns the table for another disk of size bytes, under another ID. Its
// partitions, and the rest of the first sector, are the same.
func (t *Table) For(size int64, id string) *Table {
	c := t.Clone()
	c.ID, c.Sectors = id, uint64(size/t.SectorSize)
	c.Stale, c.fromBackup = false, false
	return c
}

// Entry returns the partition with the given number, nil if there is none.
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

// LastUsable returns the last sector that a partition may contain. It follows
// from the disk's real size, not from the size that the table was made for.
func (t *Table) LastUsable() uint64 {
	if t.Scheme == contract.MBR {
		return min(t.Sectors, 1<<32) - 1 // the limit of 32-bit sector numbers
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
// to the next partition. The end is rounded down to a multiple of unit bytes.
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

// check refuses entries that overlap or reach beyond the disk.
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

// Package installer copies the system of a stick onto another disk of the computer, in such a way
// that the disk afterwards holds either the whole system or nothing that starts.
//
// First the disk's first sector is marked as unfinished. Then the partitions of the image are
// copied, each read back and compared, and their table is written with new IDs, since two disks
// with the same IDs confuse firmware and kernel. If all of that went well, the partition with the
// node's secrets follows. The first sector comes last and makes the partitions appear. If the disk
// fails from the secrets on, they are erased again. A new attempt after a power cut does the same,
// with the same IDs; the caller asks Done first.
//
// The package knows no files and no machine. It does not decide which disk is meant, nor what on it
// may be lost: package disks does.
package installer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// Disk is the disk to install on. Forget makes later reads come from the medium and not from a
// cache.
type Disk interface {
	ptable.Disk
	Forget() error
}

// What went wrong: each of these needs a different remedy from a person.
var (
	ErrStick = errors.New("the stick cannot be read")
	ErrDisk  = errors.New("the disk cannot be written and read")
	// ErrOther says that the disk returns other bytes than were written to it.
	ErrOther = errors.New("the disk does not keep what is written to it")
	// ErrKept accompanies one of the others: secrets of the node may be on the disk, which could
	// not be erased.
	ErrKept = errors.New("the disk cannot be erased again")
)

// copied are the partitions of an image; a node creates the others when it first starts from the
// disk. The partition with node.yaml is the last one: a disk that fails before holds no secret.
// That partition is treated as secret as a whole, since deleted files are still in it.
var copied = []int{contract.PartBIOS, contract.PartRootA, contract.PartBoot}

const (
	// edge is how many bytes are erased at each end of the disk: old metadata there, such as a RAID
	// superblock, would be found again.
	edge = 4 << 20
	// chunk is how many bytes are read and written at once.
	chunk = 1 << 20
	// patience is how many chunks may fail to be erased before the rest of the disk is left alone:
	// each may take a dying disk half a minute.
	patience = 8
)

// Plan says what is written where.
type Plan struct {
	// Table is the disk's final partition table.
	Table *ptable.Table
	size  int64
	edge  int64
	spans []span
}

// span is a run of bytes that lies at the same offset on both disks.
type span struct {
	at, length int64
}

// New plans to install the system of a stick, with the table stick, on a disk of size bytes. The
// new IDs are derived from order and serial, so that one order is followed once on each disk: order
// is the stick's node.yaml, with bytes that tell its image from others; serial tells the disk from
// others, and may be empty.
func New(stick *ptable.Table, size int64, order []byte, serial string) (*Plan, error) {
	if stick.Scheme != contract.GPT || stick.Entry(contract.PartBoot) == nil {
		return nil, fmt.Errorf("a system in a table of kind %s with %d partitions cannot be installed from a stick", stick.Scheme, len(stick.Entries))
	}
	seed := sha256.New()
	fmt.Fprintf(seed, "install %s %q %q", stick.ID, serial, order)
	p := &Plan{Table: stick.For(size, guid(seed.Sum(nil), 0)), size: size, edge: edge}
	p.Table.Entries = slices.DeleteFunc(p.Table.Entries, func(e ptable.Entry) bool { return !slices.Contains(copied, e.Number) })
	for i, e := range p.Table.Entries {
		p.Table.Entries[i].ID = guid(seed.Sum(nil), e.Number)
	}
	for _, number := range copied {
		if e := p.Table.Entry(number); e != nil {
			p.spans = append(p.spans, span{at: int64(e.First) * stick.SectorSize, length: int64(e.Sectors) * stick.SectorSize})
		}
	}
	return p, nil
}

// guid derives a UUID of version 8 (RFC 9562) from which the seed cannot be told.
func guid(seed []byte, number int) string {
	b := sha256.Sum256(fmt.Appendf(nil, "%x %d", seed, number))
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Done reports whether the disk with table t was installed by this very plan. A node may live on it
// then.
func (p *Plan) Done(t *ptable.Table) bool { return t != nil && t.ID == p.Table.ID }

// Run installs. unfinished is what the first sector says meanwhile; it must be shorter than a
// sector. progress is called with the number of bytes written or read back so far, and the total.
func (p *Plan) Run(stick io.ReaderAt, d Disk, unfinished []byte, progress func(done, all int64)) error {
	if err := p.begin(d, unfinished); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	c := copier{stick: stick, disk: d, progress: progress, buf: make([]byte, chunk)}
	for _, s := range p.spans {
		c.all += 2 * s.length
	}
	system, identity := p.spans[:len(p.spans)-1], p.spans[len(p.spans)-1]
	for _, s := range system {
		if err := c.copy(s); err != nil {
			return err
		}
	}
	first, err := p.Table.WriteUnseen(d)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if err = c.copy(identity); err == nil {
		err = p.appear(d, first)
	}
	if err != nil {
		return errors.Join(err, p.withdraw(&c, identity, unfinished))
	}
	return nil
}

// begin marks the disk before it changes anything else on it, and erases both ends.
func (p *Plan) begin(d Disk, unfinished []byte) error {
	if err := p.mark(d, unfinished); err != nil {
		return err
	}
	return p.eraseEnds(d)
}

func (p *Plan) eraseEnds(d Disk) error {
	zero := make([]byte, p.edge-p.Table.SectorSize)
	if _, err := d.WriteAt(zero, p.Table.SectorSize); err != nil {
		return err
	}
	if _, err := d.WriteAt(zero, p.size-int64(len(zero))); err != nil {
		return err
	}
	return d.Sync()
}

// withdraw makes the disk one that never starts, and erases the node's secrets on it. If the first
// sector is bad, the table is erased instead. If neither can be changed, nothing is erased: in
// spite of its error the disk may be whole, and be taken for that at the next start, so no part of
// it may be missing.
func (p *Plan) withdraw(c *copier, identity span, unfinished []byte) error {
	marked, bare := p.mark(c.disk, unfinished), p.eraseEnds(c.disk)
	if marked != nil && bare != nil {
		return fmt.Errorf("%w: %w", ErrKept, errors.Join(marked, bare))
	}
	if err := c.erase(identity); err != nil {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	return nil
}

// mark makes the first sector say that the disk is unfinished.
func (p *Plan) mark(d Disk, unfinished []byte) error {
	first := make([]byte, p.Table.SectorSize)
	copy(first, unfinished)
	return p.put(d, first)
}

// appear makes the system appear, and checks that it has.
func (p *Plan) appear(d Disk, first []byte) error {
	if err := errors.Join(p.put(d, first), d.Forget()); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	t, err := ptable.Read(d, p.size, p.Table.SectorSize)
	if err != nil || t.Stale || !p.Done(t) || !slices.Equal(t.Entries, p.Table.Entries) {
		return errors.Join(fmt.Errorf("%w: its table of partitions", ErrOther), err)
	}
	return nil
}

func (p *Plan) put(d Disk, first []byte) error {
	if _, err := d.WriteAt(first, 0); err != nil {
		return err
	}
	return d.Sync()
}

// copier copies spans, and counts the bytes.
type copier struct {
	stick     io.ReaderAt
	disk      Disk
	progress  func(done, all int64)
	done, all int64
	buf       []byte
}

// copy writes a span, reads it back and compares.
func (c *copier) copy(s span) error {
	wrote, err := c.write(s)
	if err != nil {
		return err
	}
	if err := errors.Join(c.disk.Sync(), c.disk.Forget()); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	have, err := c.read(s)
	if err == nil && !bytes.Equal(have, wrote) {
		err = fmt.Errorf("%w: %d bytes at %d", ErrOther, s.length, s.at)
	}
	return err
}

// write returns the SHA-256 of the bytes written, as read does of the bytes read.
func (c *copier) write(s span) ([]byte, error) {
	sum := sha256.New()
	err := c.each(s, func(part []byte, at int64) error {
		if _, err := c.stick.ReadAt(part, at); err != nil {
			return fmt.Errorf("%w: at %d: %w", ErrStick, at, err)
		}
		sum.Write(part)
		if _, err := c.disk.WriteAt(part, at); err != nil {
			return fmt.Errorf("%w: at %d: %w", ErrDisk, at, err)
		}
		return nil
	})
	return sum.Sum(nil), err
}

func (c *copier) read(s span) ([]byte, error) {
	sum := sha256.New()
	err := c.each(s, func(part []byte, at int64) error {
		if _, err := c.disk.ReadAt(part, at); err != nil {
			return fmt.Errorf("%w: at %d: %w", ErrDisk, at, err)
		}
		sum.Write(part)
		return nil
	})
	return sum.Sum(nil), err
}

// erase goes on after a chunk that cannot be written. It calls progress for every chunk, so that
// whoever waits sees that it goes on.
func (c *copier) erase(s span) error {
	var faults []error
	zero := make([]byte, chunk)
	for off := int64(0); off < s.length && len(faults) < patience; off += chunk {
		if _, err := c.disk.WriteAt(zero[:min(chunk, s.length-off)], s.at+off); err != nil {
			faults = append(faults, err)
		}
		c.progress(c.done, c.all)
	}
	return errors.Join(append(faults, c.disk.Sync())...)
}

// each calls do for every part of a span. A part is a slice of the buffer.
func (c *copier) each(s span, do func(part []byte, at int64) error) error {
	for off := int64(0); off < s.length; {
		part := c.buf[:min(chunk, s.length-off)]
		if err := do(part, s.at+off); err != nil {
			return err
		}
		off += int64(len(part))
		c.done += int64(len(part))
		c.progress(c.done, c.all)
	}
	return nil
}

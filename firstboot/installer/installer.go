// Package installer copies the system of a stick onto another disk of the
// computer, so that whatever happens there is either nothing on that disk that
// starts, or all of it.
//
// First the disk's first sector says that it is unfinished; then come the
// partitions that an image has, which are read back and compared; then the table
// of partitions under IDs of its own, since two disks with the same ones confuse
// firmware and kernel; the first sector, last of all, makes them appear. Begun
// again after a power cut, it does the same once more, and the IDs are the same.
// Whoever is about to begin asks Done first.
//
// The package knows no files and no machine. It refuses to decide which disk is
// meant, and what on it may be lost: package disks does.
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

// Disk is the one that is installed on. Forget makes reads come from the medium,
// not from what was kept in memory of it.
type Disk interface {
	ptable.Disk
	Forget() error
}

// Where it went wrong: a person does something else about each.
var (
	ErrStick = errors.New("the stick cannot be read")
	ErrDisk  = errors.New("the disk cannot be written and read")
	// ErrOther says that the disk returns other bytes than it was given.
	ErrOther = errors.New("the disk does not keep what is written to it")
)

// copied are the partitions of an image; more of them come when a node first
// starts from the disk. The one with node.yaml is the last: a disk that fails before
// that has no secret.
var copied = []int{contract.PartBIOS, contract.PartRootA, contract.PartBoot}

const (
	// edge is how much at each end of the disk is erased: what is left there of
	// others, such as a RAID's mark, would be found again.
	edge = 4 << 20
	// chunk is how much is read and written at once, in bytes.
	chunk = 1 << 20
)

// Plan is what comes where.
type Plan struct {
	// Table is that of the disk, when it is done.
	Table *ptable.Table
	size  int64
	edge  int64
	spans []span
}

// span is a run of bytes that lies at the same place on both disks.
type span struct {
	at, length int64
	sum        [sha256.Size]byte // of what was written there
}

// New plans to install the system of a stick, whose table is given, on a disk of
// size bytes. The order, the stick's node.yaml and what tells its image from others,
// makes the IDs: it is followed once on each disk, which serial, if it has one,
// tells from others.
func New(stick *ptable.Table, size int64, order []byte, serial string) (*Plan, error) {
	if stick.Scheme != contract.GPT {
		return nil, fmt.Errorf("a system in a table of kind %s cannot be installed from a stick", stick.Scheme)
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

// guid makes a UUID of version 8, RFC 9562, that tells nothing of the seed.
func guid(seed []byte, number int) string {
	b := sha256.Sum256(fmt.Appendf(nil, "%x %d", seed, number))
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Done reports whether the disk, whose table is given, came to be by this very
// plan. Then a node may live on it.
func (p *Plan) Done(t *ptable.Table) bool { return t != nil && t.ID == p.Table.ID }

// Run installs. unfinished is what the disk says of itself meanwhile, in less than
// a sector; progress hears how many of how many bytes were written or read back.
func (p *Plan) Run(stick io.ReaderAt, d Disk, unfinished []byte, progress func(done, all int64)) error {
	if err := p.begin(d, unfinished); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	c := copier{stick: stick, disk: d, progress: progress, buf: make([]byte, chunk)}
	for _, s := range p.spans {
		c.all += 2 * s.length
	}
	for i := range p.spans {
		if err := c.write(&p.spans[i]); err != nil {
			return err
		}
	}
	if err := errors.Join(d.Sync(), d.Forget()); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	for _, s := range p.spans {
		if err := c.compare(s); err != nil {
			return err
		}
	}
	if err := p.finish(d); err != nil { // what appeared must not be taken for a system
		return errors.Join(err, p.mark(d, unfinished))
	}
	return nil
}

// begin marks the disk before anything else of it changes, and erases its ends.
func (p *Plan) begin(d Disk, unfinished []byte) error {
	if err := p.mark(d, unfinished); err != nil {
		return err
	}
	zero := make([]byte, p.edge-p.Table.SectorSize)
	if _, err := d.WriteAt(zero, p.Table.SectorSize); err != nil {
		return err
	}
	if _, err := d.WriteAt(zero, p.size-int64(len(zero))); err != nil {
		return err
	}
	return d.Sync()
}

// mark makes the disk say that it is unfinished.
func (p *Plan) mark(d Disk, unfinished []byte) error {
	first := make([]byte, p.Table.SectorSize)
	copy(first, unfinished)
	return p.put(d, first)
}

// finish makes the system appear, and looks whether it has.
func (p *Plan) finish(d Disk) error {
	first, err := p.Table.WriteUnseen(d)
	if err == nil {
		err = p.put(d, first)
	}
	if err == nil {
		err = d.Forget()
	}
	if err != nil {
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

// copier moves bytes, and counts them.
type copier struct {
	stick     io.ReaderAt
	disk      Disk
	progress  func(done, all int64)
	done, all int64
	buf       []byte
}

func (c *copier) write(s *span) error {
	sum := sha256.New()
	err := c.each(*s, func(part []byte, at int64) error {
		if _, err := c.stick.ReadAt(part, at); err != nil {
			return fmt.Errorf("%w: at %d: %w", ErrStick, at, err)
		}
		sum.Write(part)
		if _, err := c.disk.WriteAt(part, at); err != nil {
			return fmt.Errorf("%w: at %d: %w", ErrDisk, at, err)
		}
		return nil
	})
	sum.Sum(s.sum[:0])
	return err
}

func (c *copier) compare(s span) error {
	sum := sha256.New()
	err := c.each(s, func(part []byte, at int64) error {
		if _, err := c.disk.ReadAt(part, at); err != nil {
			return fmt.Errorf("%w: at %d: %w", ErrDisk, at, err)
		}
		sum.Write(part)
		return nil
	})
	if err == nil && !bytes.Equal(sum.Sum(nil), s.sum[:]) {
		err = fmt.Errorf("%w: %d bytes at %d", ErrOther, s.length, s.at)
	}
	return err
}

// each calls do with the parts of a span, a piece of the buffer each.
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

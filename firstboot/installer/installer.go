// Package installer copies the system of a stick onto another disk of the
// computer, so that whatever happens there is either nothing on that disk that
// starts, or all of it.
//
// First the disk's first sector says that it is unfinished; then come the
// partitions that an image has, each read back and compared, and the table of them
// under IDs of its own, since two disks with the same ones confuse firmware and
// kernel; then, where all that is well, the one with the node's secrets; the first
// sector, last of all, makes them appear. A disk that fails from the secrets on
// loses them again. Begun again after a power cut, it does the same once more, and
// the IDs are the same. Whoever is about to begin asks Done first.
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
	// ErrKept comes beside one of them: secrets of the node may be on the disk, which
	// did not let itself be erased.
	ErrKept = errors.New("the disk cannot be erased again")
)

// copied are the partitions of an image; more of them come when a node first
// starts from the disk. The one with node.yaml is the last: a disk that fails before
// that has no secret. All of that partition counts as one: what somebody deleted from
// it is still there.
var copied = []int{contract.PartBIOS, contract.PartRootA, contract.PartBoot}

const (
	// edge is how much at each end of the disk is erased: what is left there of
	// others, such as a RAID's mark, would be found again.
	edge = 4 << 20
	// chunk is how much is read and written at once, in bytes.
	chunk = 1 << 20
	// patience is how many chunks of a disk may fail to be erased until the rest is
	// left alone: each may take a dying disk half a minute.
	patience = 8
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
}

// New plans to install the system of a stick, whose table is given, on a disk of
// size bytes. The order, the stick's node.yaml and what tells its image from others,
// makes the IDs: it is followed once on each disk, which serial, if it has one,
// tells from others.
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

// begin marks the disk before anything else of it changes, and erases its ends.
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

// withdraw makes of the disk again what never starts, and takes the node's secrets
// away from it. A disk whose first sector is bad loses its table. One that lets
// neither be changed may be whole in spite of its error, and be taken for that at
// the next start: it must not lose a part.
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

// mark makes the disk say that it is unfinished.
func (p *Plan) mark(d Disk, unfinished []byte) error {
	first := make([]byte, p.Table.SectorSize)
	copy(first, unfinished)
	return p.put(d, first)
}

// appear makes the system appear, and looks whether it has.
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

// copier moves bytes, and counts them.
type copier struct {
	stick     io.ReaderAt
	disk      Disk
	progress  func(done, all int64)
	done, all int64
	buf       []byte
}

// copy writes a span, and compares what has become of it.
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

// write returns the SHA-256 of what it wrote, as read does.
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

// erase goes on behind what cannot be written. Whoever waits hears that it goes on.
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

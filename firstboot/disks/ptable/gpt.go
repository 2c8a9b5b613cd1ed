package ptable

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// UEFI specification 2.10, section 5.3.
const (
	gptMagic      = "EFI PART"
	gptRevision   = 0x00010000
	gptHeaderSize = 92
	gptEntrySize  = 128
	gptMaxEntries = 1024
)

// gptCopy is one of the two copies of a GPT as found on the disk.
type gptCopy struct {
	header  []byte // the meaningful fields, without padding
	entries []byte
}

func (g *gptCopy) u32(off int) uint32 { return binary.LittleEndian.Uint32(g.header[off:]) }
func (g *gptCopy) u64(off int) uint64 { return binary.LittleEndian.Uint64(g.header[off:]) }

func (t *Table) entrySectors() uint64 {
	return (uint64(t.slots)*gptEntrySize + uint64(t.SectorSize) - 1) / uint64(t.SectorSize)
}

// readGPT uses the first valid copy out of these: the one in sector 1, the one
// in the disk's last sector, and the one at the place that the primary header
// names for the backup.
func (t *Table) readGPT(r io.ReaderAt) error {
	t.Scheme = contract.GPT
	last := t.Sectors - 1
	primary, errPrimary := t.readCopy(r, 1)
	backup, errBackup := t.readCopy(r, last)
	if errBackup != nil && primary != nil {
		if alternate := primary.u64(32); alternate > 1 && alternate < last {
			if c, err := t.readCopy(r, alternate); err == nil {
				backup, errBackup = c, nil
				t.Stale = true
			}
		}
	}
	t.Stale = t.Stale || errPrimary != nil || errBackup != nil || !sameGPT(primary, backup, last)
	switch {
	case errPrimary == nil:
		return t.parseGPT(primary)
	case errBackup == nil:
		t.fromBackup = true
		return t.parseGPT(backup)
	}
	return errors.Join(errPrimary, errBackup)
}

// readCopy reads and verifies the copy whose header is in sector lba. If only
// the entries are damaged, it returns the copy and an error.
func (t *Table) readCopy(r io.ReaderAt, lba uint64) (*gptCopy, error) {
	sector := make([]byte, t.SectorSize)
	if err := readAt(r, sector, int64(lba)*t.SectorSize); err != nil {
		return nil, fmt.Errorf("read the GPT header at sector %d: %w", lba, err)
	}
	c := &gptCopy{header: sector[:gptHeaderSize]}
	switch {
	case string(sector[:8]) != gptMagic:
		return nil, fmt.Errorf("%w: no GPT header at sector %d", ErrNone, lba)
	case c.u32(12) != gptHeaderSize:
		return nil, fmt.Errorf("the GPT header at sector %d has an unknown size of %d bytes", lba, c.u32(12))
	case headerCRC(c.header) != c.u32(16):
		return nil, fmt.Errorf("the GPT header at sector %d is damaged: its checksum is wrong", lba)
	case c.u64(24) != lba:
		return nil, fmt.Errorf("the GPT header at sector %d says it belongs to sector %d", lba, c.u64(24))
	case c.u32(84) != gptEntrySize || c.u32(80) == 0 || c.u32(80) > gptMaxEntries:
		return nil, fmt.Errorf("the GPT at sector %d has %d entries of %d bytes, which is not supported", lba, c.u32(80), c.u32(84))
	case c.u64(72) >= t.Sectors:
		return nil, fmt.Errorf("the GPT at sector %d has its entries outside of the disk", lba)
	}
	c.entries = make([]byte, c.u32(80)*gptEntrySize)
	if err := readAt(r, c.entries, int64(c.u64(72))*t.SectorSize); err != nil {
		return c, fmt.Errorf("read the GPT entries of sector %d: %w", lba, err)
	}
	if crc32.ChecksumIEEE(c.entries) != c.u32(88) {
		return c, fmt.Errorf("the GPT entries of sector %d are damaged: their checksum is wrong", lba)
	}
	return c, nil
}

// headerCRC returns the checksum of a header, computed with the checksum's own
// field as zero.
func headerCRC(header []byte) uint32 {
	h := bytes.Clone(header)
	clear(h[16:20])
	return crc32.ChecksumIEEE(h)
}

// sameGPT reports whether both copies say the same and point at each other
// across the whole disk.
func sameGPT(primary, backup *gptCopy, last uint64) bool {
	if primary == nil || backup == nil {
		return false
	}
	return bytes.Equal(primary.entries, backup.entries) &&
		bytes.Equal(primary.header[40:72], backup.header[40:72]) &&
		primary.u64(32) == last && backup.u64(32) == 1
}

func (t *Table) parseGPT(c *gptCopy) error {
	t.ID = formatGUID(c.header[56:72])
	t.slots = c.u32(80)
	t.firstUsable = c.u64(40)
	if t.firstUsable < 2+t.entrySectors() || t.Sectors < 2*t.entrySectors()+8 {
		return fmt.Errorf("the GPT leaves no room for its own %d entries", t.slots)
	}
	for i := range int(t.slots) {
		b := c.entries[i*gptEntrySize:][:gptEntrySize]
		if kind := b[:16]; !bytes.Equal(kind, make([]byte, 16)) {
			t.Entries = append(t.Entries, parseGPTEntry(i+1, b))
		}
	}
	return t.check()
}

func parseGPTEntry(number int, b []byte) Entry {
	first, last := binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint64(b[40:])
	var name []uint16
	for off := 56; off < gptEntrySize; off += 2 {
		u := binary.LittleEndian.Uint16(b[off:])
		if u == 0 {
			break
		}
		name = append(name, u)
	}
	return Entry{
		Number: number, Type: formatGUID(b[:16]), ID: formatGUID(b[16:32]), Name: string(utf16.Decode(name)),
		First: first, Sectors: last + 1 - first, Attributes: binary.LittleEndian.Uint64(b[48:]),
	}
}

// writeGPT first writes the copy that was not read from: the one that is known
// to be good stays until the other is complete. If both copies are good, the
// primary is written last.
func (t *Table) writeGPT(d Disk) error {
	entries, err := t.encodeEntries()
	if err != nil {
		return err
	}
	primary := func() error {
		if err := t.writeProtective(d); err != nil {
			return err
		}
		return t.primary(d, entries)()
	}
	order := []func() error{t.backup(d, entries), primary}
	if t.fromBackup {
		order = []func() error{primary, t.backup(d, entries)}
	}
	for _, write := range order {
		if err := write(); err != nil {
			return fmt.Errorf("write the partition table: %w", err)
		}
	}
	return nil
}

func (t *Table) primary(d Disk, entries []byte) func() error {
	return func() error { return t.writeCopy(d, entries, 1, t.Sectors-1, 2) }
}

func (t *Table) backup(d Disk, entries []byte) func() error {
	last := t.Sectors - 1
	return func() error { return t.writeCopy(d, entries, last, 1, last-t.entrySectors()) }
}

// writeCopy writes the entries, syncs, and only then writes the header with
// their checksum.
func (t *Table) writeCopy(d Disk, entries []byte, lba, alternate, entriesLBA uint64) error {
	if _, err := d.WriteAt(entries, int64(entriesLBA)*t.SectorSize); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	header := t.encodeHeader(entries, lba, alternate, entriesLBA)
	if _, err := d.WriteAt(header, int64(lba)*t.SectorSize); err != nil {
		return err
	}
	return d.Sync()
}

func (t *Table) encodeHeader(entries []byte, lba, alternate, entriesLBA uint64) []byte {
	h := make([]byte, t.SectorSize)
	le := binary.LittleEndian
	copy(h, gptMagic)
	le.PutUint32(h[8:], gptRevision)
	le.PutUint32(h[12:], gptHeaderSize)
	le.PutUint64(h[24:], lba)
	le.PutUint64(h[32:], alternate)
	le.PutUint64(h[40:], t.firstUsable)
	le.PutUint64(h[48:], t.LastUsable())
	guid, _ := parseGUID(t.ID) // checked by encodeEntries
	copy(h[56:], guid)
	le.PutUint64(h[72:], entriesLBA)
	le.PutUint32(h[80:], t.slots)
	le.PutUint32(h[84:], gptEntrySize)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries[:t.slots*gptEntrySize]))
	le.PutUint32(h[16:], headerCRC(h[:gptHeaderSize]))
	return h
}

// encodeEntries returns the array of entries, padded to a whole sector.
func (t *Table) encodeEntries() ([]byte, error) {
	if _, err := parseGUID(t.ID); err != nil {
		return nil, err
	}
	out := make([]byte, int64(t.entrySectors())*t.SectorSize)
	for _, e := range t.Entries {
		if e.Number < 1 || e.Number > int(t.slots) {
			return nil, fmt.Errorf("the GPT has no room for partition %d", e.Number)
		}
		if err := putGPTEntry(out[(e.Number-1)*gptEntrySize:][:gptEntrySize], e); err != nil {
			return nil, fmt.Errorf("partition %d: %w", e.Number, err)
		}
	}
	return out, nil
}

func putGPTEntry(b []byte, e Entry) error {
	kind, err := parseGUID(e.Type)
	if err != nil {
		return err
	}
	id, err := parseGUID(e.ID)
	if err != nil {
		return err
	}
	name := utf16.Encode([]rune(e.Name))
	if len(name) > 36 {
		return fmt.Errorf("name %q is longer than 36 characters", e.Name)
	}
	copy(b, kind)
	copy(b[16:], id)
	binary.LittleEndian.PutUint64(b[32:], e.First)
	binary.LittleEndian.PutUint64(b[40:], e.End()-1)
	binary.LittleEndian.PutUint64(b[48:], e.Attributes)
	for i, u := range name {
		binary.LittleEndian.PutUint16(b[56+2*i:], u)
	}
	return nil
}

// writeProtective makes the protective MBR cover the whole disk, which it does
// not after an image was flashed. It is a single sector, so the write is all or
// nothing.
func (t *Table) writeProtective(d Disk) error {
	sector0 := t.protective()
	if bytes.Equal(sector0, t.sector0) {
		return nil
	}
	if _, err := d.WriteAt(sector0, 0); err != nil {
		return err
	}
	return d.Sync()
}

// protective returns the first sector, with an MBR that covers the whole disk.
func (t *Table) protective() []byte {
	sector0 := bytes.Clone(t.sector0)
	clear(sector0[mbrEntries:mbrMagic])
	sector0[mbrMagic], sector0[mbrMagic+1] = 0x55, 0xaa
	b := mbrEntry(sector0, 1)
	copy(b, []byte{0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(b[8:], 1)
	binary.LittleEndian.PutUint32(b[12:], uint32(min(t.Sectors-1, 0xffffffff)))
	return sector0
}

// formatGUID prints a GUID in the mixed-endian form of UEFI's appendix A.
func formatGUID(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

func parseGUID(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || len(s) != 36 {
		return nil, fmt.Errorf("%q is not a GUID", s)
	}
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5] = b[5], b[4]
	b[6], b[7] = b[7], b[6]
	return b, nil
}

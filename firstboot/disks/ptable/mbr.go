package ptable

import (
	"encoding/binary"
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// Offsets in sector 0. The layout is Microsoft's "classical generic MBR" with
// the disk signature of Windows NT, as util-linux's pt-mbr.h has it.
const (
	mbrSignature = 440
	mbrEntries   = 446
	mbrEntrySize = 16
	mbrMagic     = 510
)

func mbrEntry(sector0 []byte, number int) []byte {
	off := mbrEntries + (number-1)*mbrEntrySize
	return sector0[off : off+mbrEntrySize]
}

func hasMBRMagic(sector0 []byte) bool {
	return sector0[mbrMagic] == 0x55 && sector0[mbrMagic+1] == 0xaa
}

// isProtective reports whether any entry has type 0xee: then the GPT counts, as
// in the kernel's is_pmbr_valid.
func isProtective(sector0 []byte) bool {
	if !hasMBRMagic(sector0) {
		return false
	}
	for number := 1; number <= 4; number++ {
		if fmt.Sprintf("%02x", mbrEntry(sector0, number)[4]) == typeProtect {
			return true
		}
	}
	return false
}

func (t *Table) readMBR() error {
	if !hasMBRMagic(t.sector0) {
		return ErrNone
	}
	t.Scheme = contract.MBR
	t.ID = fmt.Sprintf("%08x", binary.LittleEndian.Uint32(t.sector0[mbrSignature:]))
	for number := 1; number <= 4; number++ {
		e, err := t.parseMBREntry(number)
		if err != nil {
			return err
		}
		if e.Type != typeEmpty {
			t.Entries = append(t.Entries, e)
		}
	}
	if len(t.Entries) == 0 {
		return fmt.Errorf("%w: an MBR without partitions", ErrNone)
	}
	return t.check()
}

func (t *Table) parseMBREntry(number int) (Entry, error) {
	b := mbrEntry(t.sector0, number)
	e := Entry{
		Number:     number,
		Type:       fmt.Sprintf("%02x", b[4]),
		ID:         fmt.Sprintf("%s-%02x", t.ID, number),
		First:      uint64(binary.LittleEndian.Uint32(b[8:])),
		Sectors:    uint64(binary.LittleEndian.Uint32(b[12:])),
		Attributes: uint64(b[0]),
	}
	switch {
	case b[0]&0x7f != 0:
		// A FAT boot sector ends in 55 aa as well, but its code is not a table.
		return e, fmt.Errorf("%w: the boot indicator of entry %d is %#02x", ErrNone, number, b[0])
	case b[4] == 0x05 || b[4] == 0x0f || b[4] == 0x85:
		return e, fmt.Errorf("partition %d is an extended one, which is not supported", number)
	}
	return e, nil
}

func (t *Table) writeMBR(d Disk) error {
	sector0 := append([]byte(nil), t.sector0...)
	clear(sector0[mbrEntries:mbrMagic])
	for _, e := range t.Entries {
		if e.Number > 4 {
			return fmt.Errorf("an MBR has no partition %d", e.Number)
		}
		if err := putMBREntry(mbrEntry(sector0, e.Number), e); err != nil {
			return err
		}
	}
	if _, err := d.WriteAt(sector0, 0); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	return nil
}

func putMBREntry(b []byte, e Entry) error {
	var kind byte
	if _, err := fmt.Sscanf(e.Type, "%02x", &kind); err != nil {
		return fmt.Errorf("partition %d: type %q is not two hex digits", e.Number, e.Type)
	}
	b[0] = byte(e.Attributes)
	// The highest CHS, which every tool takes to be out of range, means "look
	// at the LBA". Nothing that boots our disks reads CHS.
	copy(b[1:], []byte{0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff})
	binary.LittleEndian.PutUint32(b[8:], uint32(e.First))
	binary.LittleEndian.PutUint32(b[12:], uint32(e.Sectors))
	return nil
}

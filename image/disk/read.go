package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// Read parses the partition table of a disk or image of size bytes. A GPT
// goes before an MBR; where its first copy is damaged, the last sector's is
// used. Nothing of a partition is read. For a disk without a table the error
// wraps ErrNoTable.
func Read(r io.ReaderAt, size int64) (Layout, error) {
	if size < 2*SectorSize {
		return Layout{}, fmt.Errorf("%w: %d bytes are less than two sectors", ErrNoTable, size)
	}
	head := make([]byte, 2*SectorSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return Layout{}, fmt.Errorf("read partition table: %w", err)
	}
	if isGPT(head) {
		return readGPT(r, size, head[SectorSize:])
	}
	return readMBR(head[:SectorSize], size)
}

// IsGPTHeader reports whether a sector says that it is one, undamaged or not.
func IsGPTHeader(b []byte) bool { return bytes.HasPrefix(b, []byte("EFI PART")) }

// isGPT looks for the header, and for the entry that protects one that was
// lost: the copy at the end may still be good.
func isGPT(head []byte) bool {
	return IsGPTHeader(head[SectorSize:]) || hasSignature(head) && head[446+4] == 0xee
}

func hasSignature(sector []byte) bool { return sector[510] == 0x55 && sector[511] == 0xaa }

func readMBR(sector []byte, size int64) (Layout, error) {
	if !hasSignature(sector) {
		return Layout{}, ErrNoTable
	}
	t, err := mbr.Read(backend{r: bytes.NewReader(sector), size: size}, SectorSize, SectorSize)
	if err != nil {
		// Boot code where entries should be, as in other boot sectors.
		return Layout{}, fmt.Errorf("%w: %w", ErrNoTable, err)
	}
	l := Layout{Scheme: contract.MBR, ID: t.UUID(), Size: size}
	for _, p := range t.Partitions {
		if p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		l.Partitions = append(l.Partitions, Partition{
			Number: p.Index, Start: p.GetStart(), Size: p.GetSize(), Type: fmt.Sprintf("%02x", byte(p.Type)),
			UUID: mbrPartUUID(l.ID, p.Index), Active: p.Bootable,
		})
	}
	// A FAT32 boot sector has the same signature, and zeros for entries where
	// its boot code is short.
	if len(l.Partitions) == 0 && string(sector[82:90]) == "FAT32   " {
		return Layout{}, ErrNoTable
	}
	return l, l.checkRead()
}

// checkRead demands of a table found on a disk no more than that its
// partitions are on the disk: other people's tables break other rules.
func (l *Layout) checkRead() error {
	for _, p := range l.Partitions {
		if p.Start < SectorSize || p.Size <= 0 || p.Start > l.Size || p.Size > l.Size-p.Start {
			return fmt.Errorf("partition table: partition %d (%d bytes at %d) is not on the disk of %d bytes", p.Number, p.Size, p.Start, l.Size)
		}
	}
	return nil
}

func readGPT(r io.ReaderAt, size int64, header []byte) (Layout, error) {
	last := make([]byte, SectorSize)
	if _, err := r.ReadAt(last, (size/SectorSize-1)*SectorSize); err != nil {
		return Layout{}, fmt.Errorf("read backup GPT: %w", err)
	}
	for _, h := range [][]byte{header, last} {
		if err := saneHeader(h, size); err != nil {
			return Layout{}, fmt.Errorf("read GPT: %w", err)
		}
	}
	t, err := gpt.Read(backend{r: r, size: size}, SectorSize, SectorSize)
	if err != nil {
		return Layout{}, fmt.Errorf("read GPT: %w", err)
	}
	l := Layout{Scheme: contract.GPT, ID: strings.ToLower(t.GUID), Size: size, Recovered: t.RecoveredFromBackup}
	for _, p := range t.Partitions {
		if p.Start > uint64(size/SectorSize) || p.End < p.Start || p.End >= uint64(size/SectorSize) {
			return Layout{}, fmt.Errorf("read GPT: partition %d (sectors %d to %d) is not on the disk of %d bytes", p.Index, p.Start, p.End, size)
		}
		l.Partitions = append(l.Partitions, Partition{
			Number: p.Index, Start: p.GetStart(), Size: p.GetSize(), Type: strings.ToLower(string(p.Type)),
			Name: p.Name, UUID: strings.ToLower(p.GUID), Attributes: p.Attributes,
		})
	}
	return l, l.checkRead()
}

// saneHeader stops headers whose checksum is right but whose numbers make
// go-diskfs loop for ever (entries of 0 bytes) or allocate without bound.
// Headers with a wrong checksum it never trusts by itself.
func saneHeader(h []byte, size int64) error {
	if !goodSum(h) {
		return nil
	}
	first, count, entry := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if entry != gpt.PartitionEntrySize || count > 1024 || first > uint64(size/SectorSize) {
		return fmt.Errorf("a table of %d entries of %d bytes at sector %d is not supported", count, entry, first)
	}
	return nil
}

// goodSum checks a GPT header's checksum, over itself without the sum.
func goodSum(h []byte) bool {
	b := bytes.Clone(h[:92])
	clear(b[16:20])
	return crc32.ChecksumIEEE(b) == le.Uint32(h[16:])
}

// Whole returns what a table that Read accepted lacks of one that was just
// written: the GPT at the start and its copy in the last sectors must both be
// undamaged, and alike. A disk that grew or a dump cut short fails here.
func (l *Layout) Whole(r io.ReaderAt) error {
	if l.Scheme != contract.GPT {
		return nil
	}
	last := l.Size/SectorSize - 1
	first, err := readCopy(r, l.Size, 1)
	if err != nil {
		return fmt.Errorf("the partition table at the start is damaged: %w", err)
	}
	second, err := readCopy(r, l.Size, last)
	switch {
	case err != nil:
		return fmt.Errorf("the copy of the partition table at the end is missing or damaged: %w", err)
	// The other's place; then disk GUID; number, size and checksum of entries.
	case le.Uint64(first[32:]) != uint64(last), !bytes.Equal(first[56:72], second[56:72]), !bytes.Equal(first[80:92], second[80:92]):
		return errors.New("the partition tables at the start and at the end differ")
	}
	return nil
}

// readCopy reads a GPT header and checks both its checksums (UEFI 2.10, 5.3.2).
func readCopy(r io.ReaderAt, size, sector int64) ([]byte, error) {
	h := make([]byte, SectorSize)
	if _, err := r.ReadAt(h, sector*SectorSize); err != nil {
		return nil, err
	}
	switch err := saneHeader(h, size); {
	case err != nil:
		return nil, err
	case !IsGPTHeader(h) || !goodSum(h) || le.Uint64(h[24:]) != uint64(sector):
		return nil, errors.New("its checksum or place is wrong")
	}
	entries := make([]byte, int(le.Uint32(h[80:]))*gpt.PartitionEntrySize)
	if _, err := r.ReadAt(entries, int64(le.Uint64(h[72:]))*SectorSize); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return nil, errors.New("the checksum of its entries is wrong")
	}
	return h, nil
}

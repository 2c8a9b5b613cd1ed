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

// Read parses the partition table of a disk or image of size bytes. A GPT takes precedence
// over an MBR; if the GPT at the start is damaged, the copy in the last sectors is used.
// Nothing inside a partition is read. For a disk without a table the error wraps
// ErrNoTable.
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

// IsGPTHeader reports whether a sector has the signature of a GPT header, damaged or not.
func IsGPTHeader(b []byte) bool { return bytes.HasPrefix(b, []byte("EFI PART")) }

// isGPT looks for a GPT header, and for the protective MBR entry of a lost one: the copy at
// the end may still be good.
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
		// There is boot code in place of entries, as in other boot sectors.
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
	// A FAT32 boot sector has the same signature, and zeros in place of entries if its boot
	// code is short.
	if len(l.Partitions) == 0 && string(sector[82:90]) == "FAT32   " {
		return Layout{}, ErrNoTable
	}
	return l, l.checkRead()
}

// checkRead checks only that the partitions of a table that was read are on the disk:
// tables made by others may break the other rules.
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

// saneHeader refuses headers with a right checksum and numbers that make go-diskfs loop
// forever (entries of 0 bytes) or allocate without bound. go-diskfs itself refuses a wrong
// checksum.
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

// goodSum checks a GPT header's checksum, which covers the header with the checksum as
// zeros.
func goodSum(h []byte) bool {
	b := bytes.Clone(h[:92])
	clear(b[16:20])
	return crc32.ChecksumIEEE(b) == le.Uint32(h[16:])
}

// Whole returns an error if a table that Read accepted is not as good as a newly written
// one: the GPT at the start and its copy in the last sectors must both be undamaged, and
// equal. It refuses a disk that was enlarged, and a truncated dump.
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
	// Compared are the other copy's sector, the disk GUID, and the entries' number, size
	// and checksum.
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

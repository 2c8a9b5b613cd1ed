package disk

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"unicode/utf16"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

var (
	guidPattern      = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	signaturePattern = regexp.MustCompile(`^[0-9a-f]{8}$`)
	mbrTypePattern   = regexp.MustCompile(`^[0-9a-f]{2}$`)
)

const (
	zeroGUID  = "00000000-0000-0000-0000-000000000000"
	maxNumGPT = 128
	maxNumMBR = 4
)

// Check returns the first thing in l that cannot be written or would do harm, such as
// partitions that overlap or are not on the disk, and identifiers that are missing or occur
// twice.
func (l *Layout) Check() error {
	if err := l.checkDisk(); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	seen := map[any]bool{}
	for _, p := range l.Partitions {
		if err := l.checkPartition(p); err != nil {
			return fmt.Errorf("partition %d: %w", p.Number, err)
		}
		if seen[p.Number] || l.Scheme == contract.GPT && seen[p.UUID] {
			return fmt.Errorf("partition %d: its number or UUID is used twice", p.Number)
		}
		seen[p.Number], seen[p.UUID] = true, true
	}
	return l.checkOverlap()
}

func (l *Layout) checkDisk() error {
	switch {
	case l.Size%SectorSize != 0 || l.Size < mib:
		return fmt.Errorf("a disk of %d bytes is not a multiple of %d or below 1 MiB", l.Size, SectorSize)
	case l.Scheme == contract.GPT && (!guidPattern.MatchString(l.ID) || l.ID == zeroGUID):
		return fmt.Errorf("disk GUID %q is not one in lower case", l.ID)
	case l.Scheme == contract.MBR && (!signaturePattern.MatchString(l.ID) || l.ID == "00000000"):
		return fmt.Errorf("disk signature %q is not eight lower-case hex digits", l.ID)
	case l.Scheme != contract.MBR && l.Scheme != contract.GPT:
		return fmt.Errorf("unknown scheme %q", l.Scheme)
	}
	return nil
}

func (l *Layout) checkPartition(p Partition) error {
	first, end, limit := l.usable()
	switch {
	case p.Number < 1 || p.Number > limit:
		return fmt.Errorf("numbers go from 1 to %d", limit)
	case p.Start%SectorSize != 0 || p.Size%SectorSize != 0 || p.Size <= 0:
		return fmt.Errorf("%d bytes at %d are not whole sectors", p.Size, p.Start)
	case p.Start < first || p.Start > end || p.Size > end-p.Start:
		return fmt.Errorf("%d bytes at %d are not between %d and %d", p.Size, p.Start, first, end)
	case l.Scheme == contract.MBR:
		return checkMBR(p)
	}
	return checkGPT(p)
}

// usable returns the range in which partitions may be, in bytes, and the highest number.
func (l *Layout) usable() (first, end int64, limit int) {
	if l.Scheme == contract.MBR {
		return SectorSize, min(l.Size, (1<<32-1)*SectorSize), maxNumMBR
	}
	return SectorSize + tailGPT, l.Size - tailGPT, maxNumGPT
}

func checkMBR(p Partition) error {
	switch {
	case !mbrTypePattern.MatchString(p.Type) || p.Type == "00":
		return fmt.Errorf("type %q is not two hex digits", p.Type)
	case p.Name != "" || p.Attributes != 0:
		return fmt.Errorf("an MBR has no names (%q) and attributes", p.Name)
	}
	return nil
}

func checkGPT(p Partition) error {
	switch {
	case !guidPattern.MatchString(p.Type) || p.Type == zeroGUID:
		return fmt.Errorf("type %q is not a GUID in lower case", p.Type)
	case !guidPattern.MatchString(p.UUID) || p.UUID == zeroGUID:
		return fmt.Errorf("UUID %q is not one in lower case", p.UUID)
	// go-diskfs counts runes, and panics on 36 of them if some are beyond 16 bits.
	case len(utf16.Encode([]rune(p.Name))) > 36:
		return fmt.Errorf("name %q is longer than 36 characters", p.Name)
	case p.Active:
		return fmt.Errorf("a GPT has no active partition")
	}
	return nil
}

func (l *Layout) checkOverlap() error {
	sorted := slices.SortedFunc(slices.Values(l.Partitions), func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; a.End() > b.Start {
			return fmt.Errorf("partitions %d and %d overlap", a.Number, b.Number)
		}
	}
	return nil
}

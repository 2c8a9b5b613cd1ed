package disk

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// tailGPT is the length of the backup GPT at the end of a disk, in bytes: 128 entries of
// 128 bytes, and the header.
const tailGPT = 33 * SectorSize

// Arrange returns l with its partitions placed one after the other, in the order given.
// Each begins at a multiple of align, with its size rounded up to one. A partition that
// already has a Start is not changed. Partitions without a number are numbered. Size
// becomes the least possible size of the disk: for MBR the end of the last partition, for
// GPT 1 MiB more, which holds the backup table. l is not changed.
func Arrange(l Layout, align int64) (Layout, error) {
	if align < mib || align%mib != 0 {
		return Layout{}, fmt.Errorf("partitions aligned to %d bytes: only multiples of 1 MiB make sense", align)
	}
	out := l
	out.Partitions = nil
	next := align
	for i, p := range l.Partitions {
		if p.Size <= 0 {
			return Layout{}, fmt.Errorf("partition %d (%s) has no size", i+1, p.Name)
		}
		if p.Number == 0 {
			p.Number = i + 1
		}
		if p.Start == 0 {
			p.Start = roundUp(next, align)
			p.Size = roundUp(p.Size, align)
		}
		if l.Scheme == contract.MBR {
			p.UUID = mbrPartUUID(l.ID, p.Number)
		}
		next = max(next, p.End())
		out.Partitions = append(out.Partitions, p)
	}
	out.Size = next
	if l.Scheme == contract.GPT {
		out.Size += mib
	}
	return out, out.Check()
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// mbrPartUUID is the PARTUUID that Linux and libblkid give to an MBR partition.
func mbrPartUUID(id string, number int) string { return fmt.Sprintf("%s-%02x", id, number) }

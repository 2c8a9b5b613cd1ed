// Package fat writes and reads FAT32 file systems with VFAT long names, the only format
// that a Raspberry Pi's boot ROM, UEFI, U-Boot and every laptop can read.
//
// The writer lays out a tree.Tree once, each file and directory in contiguous clusters. The
// result is byte-reproducible, and fsck.fat has no complaints. It refuses what FAT cannot
// represent: symbolic links, devices, names that differ only in case, files of 4 GiB.
// Owners, modes and extended attributes do not exist on FAT and are dropped.
//
// The reader is for images and devices that may be damaged or hostile. Two functions change
// an existing volume: Overwrite replaces the data of a file in its clusters, and Touch adds
// an empty file by writing one free entry of the root directory. Neither changes a FAT.
//
// Formats: Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (called
// fatgen103 below); the lower-case flags of byte 12 are Windows NT's.
package fat

import (
	"errors"
	"time"
)

// MinSize is the smallest volume that Write makes, in bytes: a smaller one would have fewer
// clusters than FAT32 requires, and readers would take it for FAT16.
const MinSize = 33 << 20

// maxSize keeps sector numbers in 32 bits.
const maxSize = (1<<32 - 1) * sectorSize

const (
	sectorSize   = 512
	dirEntrySize = 32
	// minClusters tells FAT32 from FAT16 (fatgen103, "FAT type determination", which asks
	// to stay 16 clusters away from the limit).
	minClusters = 65525 + 16
	maxClusters = 0x0ffffff5
	// maxDirSize is 65536 entries, the limit of Windows and Linux.
	maxDirSize  = 65536 * dirEntrySize
	maxFileSize = 1<<32 - 1
)

// ErrNotFAT32 is returned by Open, wrapped, for anything that is not a FAT32 file system,
// so that callers can try the next partition.
var ErrNotFAT32 = errors.New("not a FAT32 file system")

// Options describe a volume. Equal options and equal trees give equal bytes.
type Options struct {
	// Size of the volume in bytes, a multiple of 512, from MinSize up.
	Size int64
	// Label is at most 11 characters and stored in upper case; "" means no label.
	Label string
	// VolumeID is the serial number that Linux shows as the UUID, such as "A1B2-C3D4".
	VolumeID uint32
	// ModTime, in UTC, is the time of the label and of nodes without a time. FAT times
	// begin in 1980 and have a resolution of two seconds.
	ModTime time.Time
	// HiddenSectors is the first sector of the partition on its disk.
	HiddenSectors uint32
}

// Extent is a run of bytes of the volume.
type Extent struct{ Offset, Length int64 }

// Package fat writes and reads FAT32 file systems with VFAT long names, the
// one format that a Raspberry Pi's boot ROM, UEFI, U-Boot and every laptop
// read alike.
//
// The writer lays a tree.Tree out once, every file and directory in one run of
// clusters, byte-reproducible and without complaint from fsck.fat. It refuses
// what FAT cannot hold rather than bending it: links that are symbolic,
// devices, names that differ only in case, files of 4 GiB. Owners, modes and
// extended attributes have no place on FAT and are dropped.
//
// The reader is for images and devices that may be damaged or hostile. It
// never changes a directory or a FAT; the only write to an existing volume is
// Overwrite, which replaces the data of a file inside the clusters it has.
//
// Formats: Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (called
// fatgen103 below); the lower-case flags of byte 12 are Windows NT's.
package fat

import (
	"errors"
	"time"
)

// MinSize is the smallest volume Write makes, in bytes: with less, fewer
// clusters than FAT32 requires remain and readers take it for a FAT16.
const MinSize = 33 << 20

// maxSize keeps sector numbers in 32 bits.
const maxSize = (1<<32 - 1) * sectorSize

const (
	sectorSize   = 512
	dirEntrySize = 32
	// minClusters tells FAT32 from FAT16 (fatgen103, "FAT type
	// determination"); its author asks to stay 16 clear of the border.
	minClusters = 65525 + 16
	maxClusters = 0x0ffffff5
	// maxDirSize is 65536 entries, the limit Windows and Linux keep.
	maxDirSize  = 65536 * dirEntrySize
	maxFileSize = 1<<32 - 1
)

// ErrNotFAT32 is returned by Open, wrapped, for anything that is not a FAT32
// file system: callers look at the next partition.
var ErrNotFAT32 = errors.New("not a FAT32 file system")

// Options describe a volume. Equal options and equal trees give equal bytes.
type Options struct {
	// Size of the volume in bytes, a multiple of 512, from MinSize up.
	Size int64
	// Label is at most 11 characters and stored in upper case; "" is none.
	Label string
	// VolumeID is the serial number that Linux shows as the UUID, such as "A1B2-C3D4".
	VolumeID uint32
	// ModTime, in UTC, is the label's time and that of nodes without one. FAT
	// begins at 1980 and counts in steps of two seconds.
	ModTime time.Time
	// HiddenSectors is the first sector of the partition on its disk.
	HiddenSectors uint32
}

// Extent is a run of bytes of the volume.
type Extent struct{ Offset, Length int64 }

// Package disk reads and writes partition tables, and makes block maps (bmap), which say
// which blocks of an image must be written.
//
// A Layout is plain data: MBR for the Raspberry Pi, GPT for UEFI, all sizes in bytes. The
// caller gives every identifier, so that equal input makes equal disks. go-diskfs encodes
// and decodes the tables; this package corrects its shortcomings, each with the reason.
//
// It supports only sectors of 512 bytes, writes no hybrid tables, and never touches the
// inside of a partition: an extended partition is read as one partition, without the
// logical ones in it.
package disk

import (
	"errors"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// SectorSize is the only supported one, in bytes: SD cards, SATA disks and nearly all NVMe
// disks have it.
const SectorSize = 512

const mib = 1 << 20

// Alignments of partitions, in bytes. Cards erase in blocks of a few MiB.
const (
	Align     = mib
	AlignCard = 4 * mib
)

// ErrNoTable is returned by Read, wrapped, if there is neither a GPT nor an MBR: the disk
// is blank, or a file system without partitions.
var ErrNoTable = errors.New("no partition table")

// Layout is a partition table and the size of the disk or image around it.
type Layout struct {
	Scheme contract.Scheme `json:"scheme"`
	// ID is the disk's GUID, or for MBR its signature as eight hex digits.
	ID string `json:"id"`
	// Size of the disk or image file in bytes.
	Size       int64       `json:"size"`
	Partitions []Partition `json:"partitions"`
	// Recovered is set by Read if the GPT at the start is damaged, so that it used the one
	// at the end of the disk.
	Recovered bool `json:"recovered,omitempty"`
}

// Partition is one entry of a Layout.
type Partition struct {
	// Number counts from 1, as Linux does.
	Number int `json:"number"`
	// Start and Size in bytes. Arrange replaces a zero Start.
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
	// Type is a GUID or two hex digits, in lower case.
	Type string `json:"type"`
	// Name is the GPT partition label; MBR has none.
	Name string `json:"name,omitempty"`
	// UUID is the PARTUUID: for GPT the entry's GUID, in lower case. For MBR it follows
	// from the disk's ID: Read and Arrange set it, Write ignores it.
	UUID string `json:"uuid"`
	// Active is MBR's boot flag.
	Active bool `json:"active,omitempty"`
	// Attributes are GPT's flags, such as bit 60, read-only.
	Attributes uint64 `json:"attributes,omitempty"`
}

// End is the offset of the first byte after p.
func (p Partition) End() int64 { return p.Start + p.Size }

// typeBasicData is the type of Windows' own partitions.
const typeBasicData = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"

// IsFAT reports whether the type says that p is a FAT file system or an ESP.
func (p Partition) IsFAT() bool {
	switch p.Type {
	case "0b", "0c", "0e", "ef", contract.TypeESP, typeBasicData:
		return true
	}
	return false
}

// Partition returns the partition called name, or nil.
func (l *Layout) Partition(name string) *Partition {
	for i := range l.Partitions {
		if l.Partitions[i].Name == name {
			return &l.Partitions[i]
		}
	}
	return nil
}

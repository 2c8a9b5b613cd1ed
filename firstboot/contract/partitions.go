package contract

import "fmt"

// Scheme is the kind of a partition table.
type Scheme string

// The two schemes: MBR for the Raspberry Pi, GPT for UEFI.
const (
	MBR Scheme = "mbr"
	GPT Scheme = "gpt"
)

// Numbers of the partitions of every image, in both schemes.
const (
	PartBoot  = 1
	PartRootA = 2
	PartRootB = 3
	PartData  = 4
	// PartBIOS, on some images, holds the boot loader for a PC's BIOS, without
	// a file system. Debian's own cloud images use this number.
	PartBIOS = 14
)

// MinData is the least size of the data partition on the boot disk, in bytes.
const MinData = 512 << 20

// Names of partitions. Only a GPT has them.
const (
	NameRootA = "root-a"
	NameRootB = "root-b"
	NameData  = "data"
	NameBIOS  = "bios"
)

// Partition types in the notation of each scheme: a GUID in lower case, from
// UAPI.2 (Discoverable Partitions Specification) unless said otherwise, or two
// hex digits.
const (
	TypeESP       = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	TypeRootAMD64 = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
	TypeRootARM64 = "b921b045-1df0-41c3-af44-4c6f280d3fae"
	// TypeBIOS is GRUB's BIOS boot partition, which UAPI.2 does not list.
	TypeBIOS = "21686148-6449-6e6f-744e-656564454649"
	TypeVar  = "4d21b016-b534-45c2-a9fb-5c16e091fd2d"
	// TypePending marks a data partition that may be formatted: no mkfs is
	// known to have finished on it. It is private to this project.
	TypePending = "7e2d1c6f-52a1-4b0e-9d3a-1f0c5a6b8e47"
	// TypeElsewhere marks the data partition of a node whose data is on another
	// disk. TypeDataDisk and TypeLonghornDisk mark the single partition of a
	// node's own disk. All three are private to this project.
	TypeElsewhere    = "bced2e25-6535-49de-a31e-bfa80f2deefa"
	TypeDataDisk     = "8916373e-367e-4471-94f0-d60983576a69"
	TypeLonghornDisk = "4d7f1234-256d-4b9f-a13d-ad777c184acf"

	TypeFAT32 = "0c" // with LBA
	TypeLinux = "83"
	TypeNoFS  = "da" // "Non-FS data": stands for TypePending
	TypeOwn   = "7f" // free for private use: stands for TypeElsewhere
)

// BootType is the type of the boot partition.
func (s Scheme) BootType() string { return s.choose(TypeESP, TypeFAT32) }

// DataType is the type of a data partition that is formatted.
func (s Scheme) DataType() string { return s.choose(TypeVar, TypeLinux) }

// PendingType is the type of a data partition that may be formatted.
func (s Scheme) PendingType() string { return s.choose(TypePending, TypeNoFS) }

// ElsewhereType is the type of a data partition that another disk replaces.
func (s Scheme) ElsewhereType() string { return s.choose(TypeElsewhere, TypeOwn) }

func (s Scheme) choose(gpt, mbr string) string {
	if s == GPT {
		return gpt
	}
	return mbr
}

// RootType is the type of the slots for a Debian architecture.
func (s Scheme) RootType(arch string) (string, error) {
	switch {
	case s == MBR:
		return TypeLinux, nil
	case arch == "amd64":
		return TypeRootAMD64, nil
	case arch == "arm64":
		return TypeRootARM64, nil
	}
	return "", fmt.Errorf("no partition type is known for the root of architecture %q", arch)
}

// IsRoot reports whether a partition of this type and label can be the slot
// called name.
func (s Scheme) IsRoot(kind, label, name string) bool {
	if s == MBR {
		return kind == TypeLinux
	}
	return (kind == TypeRootAMD64 || kind == TypeRootARM64) && label == name
}

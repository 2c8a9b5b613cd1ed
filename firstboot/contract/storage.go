package contract

import (
	"fmt"
	"strconv"
)

// Versions of how a node keeps its encrypted data. An image states the newest version that
// its firstboot can open; it can open all earlier ones, too. A node needs an image that
// states at least the version by which its data are kept: an image that states less would
// find them, take them for lost, and fail. Whoever changes how data are kept so that
// today's images cannot open them adds a version.
const (
	// StorageNone is for an image that states nothing: it knows no encryption, or was built
	// before images stated this (November 2026). A node without encryption needs no more.
	StorageNone = 0
	// StorageShares is fscrypt with a key made of two shares: one on the disk, the other
	// with holders in the tailnet.
	StorageShares = 1
	// StorageSealed is the same, but the machine's TPM seals the disk's share, and the
	// holders also have a spare.
	StorageSealed = 2

	// Storage is the version that this builder's images state.
	Storage = StorageSealed
)

// StorageField is the field for it in the os-release of an image's root. A slot's own
// os-release counts, whatever the label on the boot partition says.
const StorageField = "IMAGEBUILDER_STORAGE"

// StorageComponent is the entry for it in an update's manifest, among the versions of what
// is not a Debian package. It is not a field of its own because a node refuses a manifest
// with an unknown field: a node older than the field could then never be updated.
const StorageComponent = "storage"

// EncodeStorage returns the text for a version.
func EncodeStorage(version int) string { return strconv.Itoa(version) }

// ParseStorage reads that text; "" means StorageNone.
func ParseStorage(text string) (int, error) {
	if text == "" {
		return StorageNone, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("the version of its storage is %q: want a number", text)
	}
	return int(n), nil
}

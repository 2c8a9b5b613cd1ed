package contract

import (
	"fmt"
	"strconv"
)

// How a node keeps what is encrypted. An image states the last of these that its firstboot
// opens, as it opens all before it; a node needs of an image the one by which its own data
// are kept. An image that states less would find them there, take them for lost and fail.
// Whoever changes how they are kept, so that today's images could not open them, adds one.
const (
	// StorageNone is what an image states that states nothing: it knows of no encryption,
	// or was built before images said so (November 2026). A node without encryption needs
	// no more.
	StorageNone = 0
	// StorageShares is fscrypt with a key of two shares, one of them on the disk, the other
	// with holders in the tailnet.
	StorageShares = 1
	// StorageSealed is the same with the disk's share sealed by the machine's TPM, and a
	// spare with the holders.
	StorageSealed = 2

	// Storage is what images of this builder state.
	Storage = StorageSealed
)

// StorageField is where os-release has it in an image's root: the one of a slot's, whatever
// image the boot partition's label tells of.
const StorageField = "IMAGEBUILDER_STORAGE"

// StorageComponent is where an update's manifest has it, among the versions of what is no
// Debian package. It is no field of its own: a node refuses a manifest with a field that
// it does not know, so that one from before there was this could never be updated.
const StorageComponent = "storage"

// EncodeStorage returns what stands there.
func EncodeStorage(version int) string { return strconv.Itoa(version) }

// ParseStorage reads it; what is not there states nothing.
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

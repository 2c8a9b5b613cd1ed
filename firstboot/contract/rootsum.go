package contract

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// RootSum is what a slot's root was when it was made. It has a page of its own right
// behind the squashfs, so that it comes with everything that brings a root: a card that
// is written, or an update.
type RootSum struct {
	// Size is the size of the squashfs in bytes, padded to a whole page.
	Size int64
	// SHA256 is the digest of the squashfs, padding included, and of the tree if there is
	// one.
	SHA256 [sha256.Size]byte
	// Tree is the size in bytes of dm-verity's hash tree behind the page, 0 if there is
	// none.
	Tree int64
}

// Whole returns the size of squashfs, page and tree together, in bytes.
func (s RootSum) Whole() int64 { return s.Size + RootPage + s.Tree }

// RootPage is the size of a page, in bytes: the squashfs is padded to that, and a RootSum
// takes one.
const RootPage = 4 << 10

const rootSumForm = "imagebuilder root\nsize %d\nsha256 %s\ntree %d\n"

// ErrNoRootSum means that there is no RootSum where one should be.
var ErrNoRootSum = errors.New("there is no digest behind the root")

// RootSize returns the size of a squashfs of so many bytes once it is padded.
func RootSize(used int64) int64 { return (used + RootPage - 1) / RootPage * RootPage }

// Encode returns the page.
func (s RootSum) Encode() []byte {
	page := make([]byte, RootPage)
	copy(page, fmt.Sprintf(rootSumForm, s.Size, hex.EncodeToString(s.SHA256[:]), s.Tree))
	return page
}

// ParseRootSum reads a page. It accepts no other spelling than Encode's.
func ParseRootSum(page []byte) (s RootSum, err error) {
	var digest string
	if _, err := fmt.Sscanf(string(bytes.TrimRight(page, "\x00")), rootSumForm, &s.Size, &digest, &s.Tree); err != nil {
		return RootSum{}, ErrNoRootSum
	}
	if b, err := hex.DecodeString(digest); err != nil || copy(s.SHA256[:], b) != sha256.Size || !bytes.Equal(s.Encode(), page) || s.Size < 0 || s.Tree < 0 {
		return RootSum{}, ErrNoRootSum
	}
	return s, nil
}

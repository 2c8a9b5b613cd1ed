package contract

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// RootSum says what a slot's root was when it was made. It stands in a page of its
// own right behind the squashfs, so that it comes with whatever brings the root: a
// card that is written, or an update.
type RootSum struct {
	// Size is that of the squashfs, padded to a whole page, in bytes.
	Size int64
	// SHA256 is that of these bytes and, where there is one, of the tree.
	SHA256 [sha256.Size]byte
	// Tree is the length of dm-verity's hash tree behind the page, 0 where none is.
	Tree int64
}

// Whole is the length of all three.
func (s RootSum) Whole() int64 { return s.Size + RootPage + s.Tree }

// RootPage is the length of a page, in bytes: what squashfs is padded to, and what a
// RootSum takes.
const RootPage = 4 << 10

const rootSumForm = "imagebuilder root\nsize %d\nsha256 %s\ntree %d\n"

// ErrNoRootSum says that there is none where one ought to be.
var ErrNoRootSum = errors.New("there is no digest behind the root")

// RootSize pads a squashfs of so many bytes.
func RootSize(used int64) int64 { return (used + RootPage - 1) / RootPage * RootPage }

// Encode returns the page.
func (s RootSum) Encode() []byte {
	page := make([]byte, RootPage)
	copy(page, fmt.Sprintf(rootSumForm, s.Size, hex.EncodeToString(s.SHA256[:]), s.Tree))
	return page
}

// ParseRootSum reads a page. It takes no other spelling than Encode's.
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

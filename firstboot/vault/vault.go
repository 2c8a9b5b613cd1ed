// Package vault has the two shares of a node's key, a spare for the first share, and the records of
// a holder, which keeps second shares and spares: which shares it keeps, who may have one and from
// where, and who is refused for ever.
//
// It is a leaf of plain values: no disk, no network, no clock. It refuses to give a share to
// another node, to another disk, or to a place where the node never was, unless the owner has
// agreed. It never forgets a revocation.
package vault

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// ShareSize and keySize are in bytes. The kernel accepts keys of 32 to 64 bytes
// (Documentation/filesystems/fscrypt.rst, "FS_IOC_ADD_ENCRYPTION_KEY").
const (
	ShareSize = 32
	keySize   = 64
)

// HKDF's info strings (RFC 5869) bind what is derived from a share to its purpose.
const (
	forKey   = "imagebuilder key of a node's data, version 1"
	forProof = "imagebuilder proof of a node's disk, version 1"
)

// NewShare makes a share: random bytes in base64.
func NewShare(random io.Reader) (secret.String, error) {
	b := make([]byte, ShareSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	return secret.String(base64.StdEncoding.EncodeToString(b)), nil
}

var errShare = errors.New("a share of the key is damaged")

func bytesOf(share secret.String) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(share.Reveal())
	if err != nil || len(b) != ShareSize { // base64's own error would quote the share
		return nil, errShare
	}
	return b, nil
}

// Key derives the key that encrypts the data. Neither share alone reveals anything about it.
func Key(disk, peer secret.String) ([]byte, error) {
	d, err := bytesOf(disk)
	if err != nil {
		return nil, err
	}
	p, err := bytesOf(peer)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha512.New, append(d, p...), nil, forKey, keySize)
}

// Proof shows a holder that whoever asks has the disk. It reveals nothing about the share on the
// disk.
func Proof(disk secret.String) (secret.String, error) {
	d, err := bytesOf(disk)
	if err != nil {
		return "", err
	}
	b, err := hkdf.Key(sha512.New, d, nil, forProof, ShareSize)
	return secret.String(hex.EncodeToString(b)), err
}

// Combine returns the XOR of two shares: of two random halves the share that they stand for, and of
// a share and one half the other half. One half alone reveals nothing about the share, as long as
// one of the halves came from NewShare and is used for no other share.
func Combine(a, b secret.String) (secret.String, error) {
	x, err := bytesOf(a)
	if err != nil {
		return "", err
	}
	y, err := bytesOf(b)
	if err != nil {
		return "", err
	}
	subtle.XORBytes(x, x, y)
	return secret.String(base64.StdEncoding.EncodeToString(x)), nil
}

// Digest is the identifier by which a holder recognises a proof, and a node its share.
func Digest(s secret.String) string {
	sum := sha256.Sum256([]byte("imagebuilder share\x00" + s.Reveal()))
	return hex.EncodeToString(sum[:16])
}

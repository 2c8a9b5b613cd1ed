// Package vault has the two shares of a node's key and a spare for the first, and the
// book of one who keeps the second or the spare: what is kept, who may have it and from
// where, who is refused for ever.
//
// It is a leaf of plain values: no disk, no network, no clock of its own. It refuses
// to give a share to another node, to another disk, or to a place that the share was
// never at, unless the owner said so; and it forgets no revocation.
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

// ShareSize and KeySize are in bytes. The kernel takes keys of 32 to 64 bytes
// (Documentation/filesystems/fscrypt.rst, "FS_IOC_ADD_ENCRYPTION_KEY").
const (
	ShareSize = 32
	KeySize   = 64
)

// What HKDF (RFC 5869) makes of a share is bound to what it is for.
const (
	forKey   = "imagebuilder key of a node's data, version 1"
	forProof = "imagebuilder proof of a node's disk, version 1"
)

// NewShare makes one: random bytes in base64.
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
	if err != nil || len(b) != ShareSize { // the first would tell what is in it
		return nil, errShare
	}
	return b, nil
}

// Key is what encrypts the data. Neither share alone says anything of it.
func Key(disk, peer secret.String) ([]byte, error) {
	d, err := bytesOf(disk)
	if err != nil {
		return nil, err
	}
	p, err := bytesOf(peer)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha512.New, append(d, p...), nil, forKey, KeySize)
}

// Proof shows a holder that the one who asks has the disk, and tells it nothing of
// the share there.
func Proof(disk secret.String) (secret.String, error) {
	d, err := bytesOf(disk)
	if err != nil {
		return "", err
	}
	b, err := hkdf.Key(sha512.New, d, nil, forProof, ShareSize)
	return secret.String(hex.EncodeToString(b)), err
}

// Combine makes of two random halves the share that they stand for, and of the share and
// a half the other half. Neither half alone says anything of it, as long as one of them
// came from NewShare and is of no other share.
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

// Digest is by what a holder knows a proof again, and a node its share.
func Digest(s secret.String) string {
	sum := sha256.Sum256([]byte("imagebuilder share\x00" + s.Reveal()))
	return hex.EncodeToString(sum[:16])
}

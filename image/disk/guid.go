package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
)

// GUID derives an identifier from what it is for, such as the digest of an image and
// "root-a": equal parts give equal GUIDs. The result is a version 8 UUID (RFC 9562, section
// 5.8).
func GUID(parts ...string) string {
	b := digest(parts)
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Signature derives an MBR disk signature in the same way; it is never zero.
func Signature(parts ...string) string {
	return fmt.Sprintf("%08x", VolumeID(parts...))
}

// VolumeID derives the serial number of a FAT volume in the same way; it is never zero.
func VolumeID(parts ...string) uint32 {
	b := digest(parts)
	return max(1, binary.BigEndian.Uint32(b[:]))
}

func digest(parts []string) [sha256.Size]byte {
	// The separator keeps ("ab","c") and ("a","bc") apart.
	return sha256.Sum256([]byte("imagebuilder\x00" + strings.Join(parts, "\x00")))
}

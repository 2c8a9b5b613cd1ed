package initramfs

import (
	"encoding/binary"
	"unicode/utf16"
)

// efiString decodes a variable as efivarfs shows it: four bytes of attributes, then UTF-16 with a
// terminating zero.
func efiString(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	var units []uint16
	for b = b[4:]; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

package initramfs

import (
	"encoding/binary"
	"unicode/utf16"
)

// loaderGUID is the vendor GUID of the boot loader interface's variables.
const loaderGUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

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

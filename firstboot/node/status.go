package node

import "bytes"

// StatusFile is the file on the boot partition, in its root directory, that tells a person with a
// laptop how the node is doing.
const StatusFile = "STATUS.TXT"

// StatusSize is the length of the file in bytes, from the time the image is made: overwriting it in
// place changes no metadata of the file system, and cannot damage it.
const StatusSize = 4096

// PadStatus pads a text with spaces to StatusSize and ends it with CR LF, for Windows editors. A
// longer text is cut off.
func PadStatus(text []byte) []byte {
	padded := bytes.Repeat([]byte(" "), StatusSize)
	copy(padded, text[:min(len(text), StatusSize-2)])
	copy(padded[StatusSize-2:], "\r\n")
	return padded
}

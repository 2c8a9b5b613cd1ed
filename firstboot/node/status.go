package node

import "bytes"

// StatusFile is the file on the boot partition, in its root directory, that
// tells a person with a laptop how the node is.
const StatusFile = "STATUS.TXT"

// StatusSize is the length of the file, in bytes, from the image on: writing
// over it in place changes nothing of the file system and cannot damage it.
const StatusSize = 4096

// PadStatus fills a text up to StatusSize with blanks and ends it with a line
// end as Windows editors want it. A longer text loses its end.
func PadStatus(text []byte) []byte {
	padded := bytes.Repeat([]byte(" "), StatusSize)
	copy(padded, text[:min(len(text), StatusSize-2)])
	copy(padded[StatusSize-2:], "\r\n")
	return padded
}

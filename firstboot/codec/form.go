package codec

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Form is how a boot file is compressed.
type Form string

// The forms: of an initramfs, and of a kernel for U-Boot.
const (
	Zstd Form = "zstd"
	Gzip Form = "gzip"
)

// window is the most, in bytes, that Zstd looks back.
const window = 8 << 20

// FormOf returns the form of a file by its first bytes, "" for any other.
func FormOf(b []byte) Form {
	switch {
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		return Gzip
	}
	return ""
}

// NewWriter compresses what is written to it, until it is closed.
//
// Of zstd the kernel wants all of an archive in one frame and allocates its window,
// which may be 128 MiB (lib/decompress_unzstd.c): 8 MiB is no burden for a small board.
// The checksum is its only way to notice a damaged file. One encoder thread makes equal
// bytes on every machine. Of gzip the header has neither name nor time.
func (f Form) NewWriter(w io.Writer) (io.WriteCloser, error) {
	switch f {
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(window), zstd.WithEncoderCRC(true))
	case Gzip:
		return gzip.NewWriterLevel(w, 7)
	}
	return nil, fmt.Errorf("nothing is compressed as %q", string(f))
}

// NewReader gives what is in a file.
func (f Form) NewReader(r io.Reader) (io.Reader, error) {
	switch f {
	case Zstd:
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	case Gzip:
		return gzip.NewReader(r)
	}
	return nil, fmt.Errorf("nothing is compressed as %q", string(f))
}

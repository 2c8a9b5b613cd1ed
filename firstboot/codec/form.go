package codec

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Form is a compression format of a boot file.
type Form string

// The forms. Zstd is used for an initramfs, Gzip for a kernel that U-Boot starts.
const (
	Zstd Form = "zstd"
	Gzip Form = "gzip"
)

// window is the largest window of Zstd, in bytes.
const window = 8 << 20

// FormOf returns the form of a file by its first bytes; "" if it is none of them.
func FormOf(b []byte) Form {
	switch {
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		return Gzip
	}
	return ""
}

// NewWriter returns a writer that compresses to w, until it is closed.
//
// With zstd the kernel expects an archive in one frame and allocates its window, which may be 128
// MiB (lib/decompress_unzstd.c); 8 MiB is no burden for a small board. The checksum is the kernel's
// only way to notice a damaged file. One encoder thread gives the same bytes on every machine. The
// gzip header has neither name nor time.
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

// NewReader returns a reader of the decompressed content of r.
func (f Form) NewReader(r io.Reader) (io.Reader, error) {
	switch f {
	case Zstd:
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	case Gzip:
		return gzip.NewReader(r)
	}
	return nil, fmt.Errorf("nothing is compressed as %q", string(f))
}

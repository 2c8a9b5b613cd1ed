package deb

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Bounds of a decoder's memory, in bytes: dpkg-deb needs at most the 64 MiB dictionary of
// xz -9, or 128 MiB for zstd --ultra.
const (
	maxDict   = 64 << 20
	maxWindow = 128 << 20
)

// decompress returns the tar archive inside member m of r; the ending of m's name tells the
// compression. seen is called with the number of compressed bytes as they are read. Closing
// the reader stops workers that read ahead.
func decompress(ctx context.Context, r io.ReaderAt, m member, seen func(int64)) (io.ReadCloser, error) {
	src := contextReaderAt{ctx, &countingReaderAt{io.NewSectionReader(r, m.off, m.size), seen}}
	_, ending, _ := strings.Cut(m.name, ".tar")
	switch ending {
	case "":
		return io.NopCloser(io.NewSectionReader(src, 0, m.size)), nil
	case ".gz":
		return gzip.NewReader(io.NewSectionReader(src, 0, m.size))
	case ".xz":
		return newXZReader(ctx, src, m.size)
	case ".zst":
		z, err := zstd.NewReader(io.NewSectionReader(src, 0, m.size),
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("compression %q is not supported: only none, gz, xz and zst are", ending)
}

// countingReaderAt reports how many bytes are read.
type countingReaderAt struct {
	io.ReaderAt
	seen func(int64)
}

func (c *countingReaderAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, off)
	c.seen(int64(n))
	return n, err
}

// drainZeros reads r to its end, so that the checksums of the compressed stream are
// verified. It refuses anything but the zeros that pad a tar archive: some readers would
// see data hidden there, others would not.
func drainZeros(r io.Reader) error {
	b := make([]byte, 32<<10)
	for {
		n, err := r.Read(b)
		for _, c := range b[:n] {
			if c != 0 {
				return errors.New("data after the end of the tar archive")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

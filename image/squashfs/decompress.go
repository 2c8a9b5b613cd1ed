package squashfs

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

var compressorNames = map[uint16]string{
	compressorGzip: "gzip",
	compressorLZMA: "lzma",
	compressorLZO:  "lzo",
	compressorXz:   "xz",
	compressorLZ4:  "lz4",
	compressorZstd: "zstd",
}

// decompressor returns the data of a compressed block, or an error if there are more than
// limit bytes. It is safe for concurrent use.
type decompressor func(b []byte, limit int) ([]byte, error)

func newDecompressor(id uint16, blockSize int) (decompressor, error) {
	switch id {
	case compressorZstd:
		return zstdDecompressor(blockSize)
	case compressorGzip:
		return func(b []byte, limit int) ([]byte, error) {
			z, err := zlib.NewReader(bytes.NewReader(b))
			if err != nil {
				return nil, err
			}
			return readLimited(z, limit)
		}, nil
	case compressorXz:
		return func(b []byte, limit int) ([]byte, error) {
			// The kernel also accepts dictionaries up to the block size.
			z, err := xz.NewReader(bytes.NewReader(b), uint32(max(blockSize, metadataSize)))
			if err != nil {
				return nil, err
			}
			return readLimited(z, limit)
		}, nil
	}
	name, ok := compressorNames[id]
	if !ok {
		name = fmt.Sprintf("number %d", id)
	}
	return nil, fmt.Errorf("squashfs compressor %s is not supported, only zstd, xz and gzip", name)
}

func zstdDecompressor(blockSize int) (decompressor, error) {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxWindow(uint64(max(blockSize, metadataSize))),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("zstd decoder: %w", err)
	}
	return func(b []byte, limit int) ([]byte, error) {
		return d.DecodeAll(b, make([]byte, 0, limit))
	}, nil
}

func readLimited(r io.Reader, limit int) ([]byte, error) {
	b := make([]byte, limit+1)
	n, err := io.ReadFull(r, b)
	switch {
	case err == nil:
		return nil, fmt.Errorf("more than %d bytes", limit)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return b[:n], nil
	}
	return nil, err
}

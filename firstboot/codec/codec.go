// Package codec compresses the blocks of a root, and boot files. The builder writes them with it. A
// node, which gets only the changes from an update, compresses them again: one encoder for both, so
// that both get the same bytes.
//
// It knows nothing of squashfs, of files, or of where blocks come from.
package codec

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// BlockSize is the largest size of an unpacked block, in bytes. mksquashfs uses the same. Larger
// blocks would compress better, but a node decompresses a whole block, and holds it for a moment,
// for each page that it reads.
const BlockSize = 128 << 10

// level compresses a Debian root as well as mksquashfs -Xcompression-level 3. SpeedBestCompression
// would save 4 % more, in about five times the time.
const level = zstd.SpeedBetterCompression

// version is the compressor's version: another version may compress the same block to other bytes.
const version = "v1.20.3"

// Name identifies everything that the bytes of compressed blocks and files depend on. A program
// with another Name makes other bytes.
func Name() string { return fmt.Sprintf("zstd %s %s %d", version, level, BlockSize) }

// NewEncoder returns the encoder, for one goroutine.
func NewEncoder() (*zstd.Encoder, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		// The kernel decompresses with a window of one block.
		zstd.WithWindowSize(BlockSize),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	return enc, nil
}

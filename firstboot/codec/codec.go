// Package codec compresses the blocks of a root and the files that start it. The builder
// writes them with it and a node, which an update tells only what has changed in them,
// makes them again: one encoder for both, so that both have the same bytes.
//
// It knows nothing of squashfs, of files, or of where blocks come from.
package codec

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// BlockSize is the most, in bytes, that a block unpacks to: it is what mksquashfs uses
// too. Larger blocks pack better but a node decompresses, and for a moment holds, a
// whole block for each page.
const BlockSize = 128 << 10

// level is as small as mksquashfs -Xcompression-level 3 on a Debian root;
// SpeedBestCompression would save 4 % more for about five times the time.
const level = zstd.SpeedBetterCompression

// version is the compressor's: another one may make other bytes of the same block.
const version = "v1.20.3"

// Name tells everything that the bytes of blocks and files depend on. Who has another
// one makes others.
func Name() string { return fmt.Sprintf("zstd %s %s %d", version, level, BlockSize) }

// NewEncoder returns the encoder, for one goroutine.
func NewEncoder() (*zstd.Encoder, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		// The kernel decompresses with a window of one block and no more.
		zstd.WithWindowSize(BlockSize),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	return enc, nil
}

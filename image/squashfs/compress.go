package squashfs

import (
	"bytes"
	"math"

	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

// block is a run of data as stored. form is the first byte of a cache entry, so the meaning
// of its values must never change.
type block struct {
	form byte
	data []byte
}

const (
	formHole   = '0' // only zeros; no data
	formZstd   = 'z'
	formStored = 's' // compressed data would not be smaller
	formNoise  = 'n' // looks random, so compression was not tried; never cached
)

// stored reports whether the data is uncompressed.
func (b block) stored() bool { return b.form == formStored || b.form == formNoise }

// encode returns b as a cache entry.
func (b block) encode() []byte { return append([]byte{b.form}, b.data...) }

// decodeBlock is the inverse of encode, for a block with size uncompressed bytes. It
// returns false if the entry cannot be such a block.
func decodeBlock(entry []byte, size int64) (block, bool) {
	if len(entry) == 0 {
		return block{}, false
	}
	b, n := block{entry[0], entry[1:]}, int64(len(entry)-1)
	switch b.form {
	case formHole:
		return b, n == 0
	case formZstd:
		return b, n > 0 && n < size
	case formStored:
		return b, n == size
	}
	return b, false
}

// compressor turns data into blocks. Each goroutine has its own.
type compressor struct {
	enc *zstd.Encoder
}

func newCompressor() (*compressor, error) {
	enc, err := codec.NewEncoder()
	return &compressor{enc}, err
}

// data compresses a data block or, if hole is false, a fragment into buf. The result may
// share memory with raw.
func (c *compressor) data(raw, buf []byte, hole bool) block {
	if hole && isZero(raw) {
		return block{form: formHole}
	}
	if looksRandom(raw) {
		return block{formNoise, raw}
	}
	if packed := c.enc.EncodeAll(raw, buf[:0]); len(packed) < len(raw) {
		return block{formZstd, packed}
	}
	return block{formStored, raw}
}

// meta returns a metadata block with its header.
func (c *compressor) meta(raw []byte) []byte {
	b := c.enc.EncodeAll(raw, []byte{0, 0})
	if len(b)-2 < len(raw) {
		le.PutUint16(b, uint16(len(b)-2))
		return b
	}
	b = append(b[:0], 0, 0)
	le.PutUint16(b, uint16(len(raw))|storedMeta)
	return append(b, raw...)
}

func isZero(b []byte) bool {
	var zeros [4096]byte
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

const (
	sampleSize  = 1 << 10
	sampleCount = 16
	// Uniformly random bytes measure 8 - 255/(2·n·ln 2) = 7.989 bits of entropy in a sample
	// of n = 16 KiB. Modules and archives compressed with xz or zstd measure 7.98 to 7.99,
	// dense machine code below 7.9.
	noiseBits = 7.95
)

// looksRandom reports whether the bytes of b are distributed so evenly that they must be
// compressed or encrypted already. It looks only at samples: a wrong answer merely costs
// size or time. It returns false for small blocks, which take little time to try.
func looksRandom(b []byte) bool {
	if len(b) < sampleSize*sampleCount {
		return false
	}
	var count [256]int
	step := (len(b) - sampleSize) / (sampleCount - 1)
	for i := range sampleCount {
		for _, c := range b[i*step:][:sampleSize] {
			count[c]++
		}
	}
	entropy := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / (sampleSize * sampleCount)
			entropy -= p * math.Log2(p)
		}
	}
	return entropy > noiseBits
}

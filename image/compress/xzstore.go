package compress

import (
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// xzEncoder compresses with ulikunitz/xz only what gets smaller. That library does 1.5 MB/s
// per CPU, and nine tenths of an image are a squashfs, which cannot be compressed further:
// such chunks are stored uncompressed in a valid xz stream.
func xzEncoder(workers int) (encodeFunc, error) {
	probe, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(workers))
	if err != nil {
		return nil, err
	}
	shrink := stream(func(w io.Writer) (io.WriteCloser, error) {
		return xz.WriterConfig{DictCap: chunkSize, CheckSum: xz.CRC64}.NewWriter(w)
	})
	hard := func(b []byte) bool { return len(probe.EncodeAll(b, nil)) > len(b)/100*97 }
	return func(raw []byte) ([]byte, error) {
		if len(raw) == 0 {
			return shrink(raw)
		}
		var out []byte
		for len(raw) > 0 {
			n, stored := alike(raw, hard)
			if stored {
				out = append(out, storeXZ(raw[:n])...)
			} else if b, err := shrink(raw[:n]); err != nil {
				return nil, err
			} else {
				out = append(out, b...)
			}
			raw = raw[n:]
		}
		return out, nil
	}, nil
}

// alike returns the length of the pieces at the start of raw that are all hard to compress,
// or all not.
func alike(raw []byte, hard func([]byte) bool) (n int, isHard bool) {
	const piece = 1 << 20
	for ; n < len(raw); n += piece {
		h := hard(raw[n:min(n+piece, len(raw))])
		if n == 0 {
			isHard = h
		}
		if h != isHard {
			return n, isHard
		}
	}
	return len(raw), isHard
}

// Parts of an xz stream (The .xz File Format 1.2.1): flags for CRC64, and the header of a
// block with the LZMA2 filter and a dictionary of 4 KiB, since nothing refers back.
var (
	xzFlags       = []byte{0x00, 0x04}
	xzBlockHeader = []byte{0x02, 0x00, 0x21, 0x01, 0x00, 0x00, 0x00, 0x00}
	crc64Table    = crc64.MakeTable(crc64.ECMA)
)

// storeXZ returns raw as a complete xz stream of uncompressed LZMA2 chunks.
func storeXZ(raw []byte) []byte {
	b := make([]byte, 0, len(raw)+len(raw)>>14+128)
	b = append(b, 0xfd, '7', 'z', 'X', 'Z', 0x00)
	b = appendCRC(append(b, xzFlags...), len(xzFlags))
	start := len(b)
	b = appendCRC(append(b, xzBlockHeader...), len(xzBlockHeader))
	b = appendStored(b, raw)
	unpadded := len(b) - start + 8
	b = pad4(b, start)
	b = binary.LittleEndian.AppendUint64(b, crc64.Checksum(raw, crc64Table))
	return appendIndex(b, unpadded, len(raw))
}

// appendStored writes LZMA2 chunks of at most 64 KiB; the first resets the
// dictionary.
func appendStored(b, raw []byte) []byte {
	control := byte(0x01)
	for len(raw) > 0 {
		n := min(len(raw), 1<<16)
		b = append(b, control, byte((n-1)>>8), byte(n-1))
		b = append(b, raw[:n]...)
		raw, control = raw[n:], 0x02
	}
	return append(b, 0x00)
}

// appendIndex writes the index of one block and the footer.
func appendIndex(b []byte, unpadded, size int) []byte {
	start := len(b)
	b = append(b, 0x00, 0x01)
	b = binary.AppendUvarint(b, uint64(unpadded))
	b = binary.AppendUvarint(b, uint64(size))
	b = pad4(b, start)
	b = appendCRC(b, len(b)-start)
	footer := binary.LittleEndian.AppendUint32(nil, uint32((len(b)-start)/4-1))
	footer = append(footer, xzFlags...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(footer))
	return append(append(b, footer...), 'Y', 'Z')
}

// appendCRC appends the CRC32 of the last n bytes.
func appendCRC(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[len(b)-n:]))
}

// pad4 appends zeros until what began at start is a multiple of four long.
func pad4(b []byte, start int) []byte {
	for (len(b)-start)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

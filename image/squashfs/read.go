package squashfs

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Reader is an opened image. It is safe for concurrent use.
type Reader struct {
	r     io.ReaderAt
	sb    *superblock
	codec decompressor
	zeros []byte // one block

	mu     sync.Mutex
	blocks map[int64]metaBlock // decoded metadata blocks by offset
	frags  map[uint32][]byte   // decoded fragments by number
}

// Open reads the superblock of the image that begins at offset 0 of r. It returns
// errNotSquashfs if there is none. Everything else is read and checked when it is needed. r
// may be longer than the image.
func Open(r io.ReaderAt) (*Reader, error) {
	b := make([]byte, superblockSize)
	if _, err := r.ReadAt(b, 0); errors.Is(err, io.EOF) {
		return nil, errNotSquashfs
	} else if err != nil {
		return nil, fmt.Errorf("read squashfs superblock: %w", err)
	}
	sb, err := decodeSuperblock(b)
	if err != nil {
		return nil, err
	}
	codec, err := newDecompressor(sb.Compressor, int(sb.BlockSize))
	if err != nil {
		return nil, err
	}
	return &Reader{
		r: r, sb: sb, codec: codec,
		zeros:  make([]byte, sb.BlockSize),
		blocks: map[int64]metaBlock{},
		frags:  map[uint32][]byte{},
	}, nil
}

// Size returns the number of bytes that the image uses, without padding.
func (r *Reader) Size() int64 { return int64(r.sb.BytesUsed) }

// readAt fills b from offset off; the range must be inside the image.
func (r *Reader) readAt(b []byte, off int64) error {
	if off < superblockSize || off > int64(r.sb.BytesUsed)-int64(len(b)) {
		return fmt.Errorf("corrupt squashfs: %d bytes at %d are outside of the image's %d", len(b), off, r.sb.BytesUsed)
	}
	if n, err := r.r.ReadAt(b, off); n < len(b) {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("squashfs is truncated: %d bytes at %d: %w", len(b), off, io.ErrUnexpectedEOF)
		}
		return fmt.Errorf("read squashfs: %w", err)
	}
	return nil
}

// readBlock returns the content of the data block or fragment at off, which must have at
// most limit bytes. word is its stored size, see storedBlock.
func (r *Reader) readBlock(off int64, word uint32, limit int) ([]byte, error) {
	size := int(word &^ storedBlock)
	if size == 0 || size > int(r.sb.BlockSize) {
		return nil, fmt.Errorf("corrupt squashfs: data block of %d bytes at %d", size, off)
	}
	b := make([]byte, size)
	if err := r.readAt(b, off); err != nil {
		return nil, err
	}
	if word&storedBlock == 0 {
		return r.decompress(b, off, limit)
	}
	if size > limit {
		return nil, fmt.Errorf("corrupt squashfs: data block of %d bytes at %d where %d belong", size, off, limit)
	}
	return b, nil
}

func (r *Reader) decompress(b []byte, off int64, limit int) ([]byte, error) {
	out, err := r.codec(b, limit)
	if err != nil {
		return nil, fmt.Errorf("corrupt squashfs: block at %d: %w", off, err)
	}
	return out, nil
}

// maxFragments bounds the number of decoded fragments that are kept: files are mostly read
// in the order in which they were packed.
const maxFragments = 4

// fragment returns the decoded fragment with the given number.
func (r *Reader) fragment(num uint32) ([]byte, error) {
	r.mu.Lock()
	b, ok := r.frags[num]
	r.mu.Unlock()
	if ok {
		return b, nil
	}
	var e struct {
		Start        uint64
		Word, Unused uint32
	}
	if err := r.lookup("fragment", r.sb.FragTable, num, r.sb.Fragments, &e); err != nil {
		return nil, err
	}
	b, err := r.readBlock(int64(e.Start), e.Word, int(r.sb.BlockSize))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.frags) >= maxFragments {
		clear(r.frags)
	}
	r.frags[num] = b
	return b, nil
}

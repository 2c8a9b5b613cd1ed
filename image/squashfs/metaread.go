package squashfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

// metaBlock is a decoded metadata block, and the offset of the next one.
type metaBlock struct {
	data []byte
	next int64
}

// maxMetaBlocks bounds the number of decoded metadata blocks that are kept: they take 2
// MiB.
const maxMetaBlocks = 256

// metaBlock returns the metadata block at off.
func (r *Reader) metaBlock(off int64) (metaBlock, error) {
	r.mu.Lock()
	m, ok := r.blocks[off]
	r.mu.Unlock()
	if ok {
		return m, nil
	}
	m, err := r.readMetaBlock(off)
	if err != nil {
		return m, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.blocks) >= maxMetaBlocks {
		clear(r.blocks)
	}
	r.blocks[off] = m
	return m, nil
}

func (r *Reader) readMetaBlock(off int64) (metaBlock, error) {
	var header [2]byte
	if err := r.readAt(header[:], off); err != nil {
		return metaBlock{}, err
	}
	word := le.Uint16(header[:])
	size := int(word &^ storedMeta)
	if size == 0 || size > metadataSize {
		return metaBlock{}, fmt.Errorf("corrupt squashfs: metadata block of %d bytes at %d", size, off)
	}
	b := make([]byte, size)
	if err := r.readAt(b, off+2); err != nil {
		return metaBlock{}, err
	}
	m := metaBlock{b, off + 2 + int64(size)}
	var err error
	if word&storedMeta == 0 {
		m.data, err = r.decompress(b, off, metadataSize)
	}
	return m, err
}

// cursor reads a table of metadata blocks as a stream.
type cursor struct {
	r    *Reader
	at   int64 // offset of the current block
	m    metaBlock
	rest []byte // the unread part of that block
}

// cursor returns a cursor at ref of the table that begins at base.
func (r *Reader) cursor(base uint64, ref metaRef) (*cursor, error) {
	if base > r.sb.BytesUsed {
		return nil, fmt.Errorf("corrupt squashfs: table at %d of %d bytes", base, r.sb.BytesUsed)
	}
	return r.cursorAt(place{int64(base) + ref.block(), ref.offset()})
}

// place is a position in a table: the offset of a metadata block in the image, and of a
// byte in the decoded block.
type place struct {
	block  int64
	offset int
}

func (r *Reader) cursorAt(p place) (*cursor, error) {
	m, err := r.metaBlock(p.block)
	if err != nil {
		return nil, err
	}
	if p.offset > len(m.data) {
		return nil, fmt.Errorf("corrupt squashfs: reference to byte %d of a metadata block of %d", p.offset, len(m.data))
	}
	return &cursor{r, p.block, m, m.data[p.offset:]}, nil
}

// place returns the cursor's position.
func (c *cursor) place() place { return place{c.at, len(c.m.data) - len(c.rest)} }

// Read implements io.Reader. At the end of the table it returns an error other than io.EOF:
// the image itself announced more data.
func (c *cursor) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		m, err := c.r.metaBlock(c.m.next)
		if err != nil {
			return 0, err
		}
		c.at, c.m, c.rest = c.m.next, m, m.data
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// bytes returns the next n bytes. The caller must bound n.
func (c *cursor) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	return b, err
}

func (c *cursor) uint32() (uint32, error) {
	b, err := c.bytes(4)
	if err != nil {
		return 0, err
	}
	return le.Uint32(b), nil
}

// decode reads the fixed-size value that v points to.
func (c *cursor) decode(v any) error {
	b, err := c.bytes(binary.Size(v))
	if err != nil {
		return err
	}
	_, err = binary.Decode(b, le, v)
	return err
}

// lookup decodes entry i of a table with count entries, whose list of metadata blocks is at
// offset index. The size of *v must divide metadataSize.
func (r *Reader) lookup(what string, index uint64, i, count uint32, v any) error {
	if i >= count {
		return fmt.Errorf("corrupt squashfs: %s %d of %d", what, i, count)
	}
	pos := int64(i) * int64(binary.Size(v))
	if index > r.sb.BytesUsed {
		return fmt.Errorf("corrupt squashfs: %s table at %d of %d bytes", what, index, r.sb.BytesUsed)
	}
	var b [8]byte
	if err := r.readAt(b[:], int64(index)+pos/metadataSize*8); err != nil {
		return err
	}
	c, err := r.cursor(le.Uint64(b[:]), metaRef(pos%metadataSize))
	if err != nil {
		return err
	}
	return c.decode(v)
}

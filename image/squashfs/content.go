package squashfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
)

// content is a regular file of an image, a tree.Content.
type content struct {
	r        *Reader
	size     int64
	start    int64
	fragment uint32
	offset   uint32
	blocks   place // position of the list of block sizes

	once sync.Once
	sum  string
}

func (c *content) Size() int64 { return c.size }

// SHA256 reads the file on its first call. It returns "" for a file that cannot be read.
func (c *content) SHA256() string {
	c.once.Do(func() {
		h := sha256.New()
		r, err := c.Open()
		if err != nil {
			return
		}
		if _, err := io.Copy(h, r); err == nil {
			c.sum = hex.EncodeToString(h.Sum(nil))
		}
	})
	return c.sum
}

// Open returns a reader that need not be closed.
func (c *content) Open() (io.ReadCloser, error) {
	blocks, err := c.r.cursorAt(c.blocks)
	if err != nil {
		return nil, err
	}
	return &contentReader{c: c, left: c.size, pos: c.start, blocks: blocks}, nil
}

type contentReader struct {
	c      *content
	rest   []byte // decoded, not read yet
	left   int64  // bytes after rest
	pos    int64  // position of the next block
	blocks *cursor
	err    error
}

func (r *contentReader) Close() error { return nil }

func (r *contentReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.rest, r.err = r.next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

// next returns the next block, the file's part of a fragment, or io.EOF.
func (r *contentReader) next() ([]byte, error) {
	if r.left == 0 {
		return nil, io.EOF
	}
	size := min(r.left, int64(r.c.r.sb.BlockSize))
	r.left -= size
	if size < int64(r.c.r.sb.BlockSize) && r.c.fragment != noFragment {
		return r.tail(size)
	}
	word, err := r.blocks.uint32()
	if err != nil {
		return nil, err
	}
	if word == 0 {
		return r.c.r.zeros[:size], nil
	}
	b, err := r.c.r.readBlock(r.pos, word, int(size))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != size {
		return nil, fmt.Errorf("corrupt squashfs: block at %d has %d bytes instead of %d", r.pos, len(b), size)
	}
	r.pos += int64(word &^ storedBlock)
	return b, nil
}

func (r *contentReader) tail(size int64) ([]byte, error) {
	b, err := r.c.r.fragment(r.c.fragment)
	if err != nil {
		return nil, err
	}
	end := int64(r.c.offset) + size
	if end > int64(len(b)) {
		return nil, fmt.Errorf("corrupt squashfs: fragment %d has %d bytes, not %d", r.c.fragment, len(b), end)
	}
	return b[r.c.offset:end], nil
}

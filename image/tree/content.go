package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Content is the data of a regular file. It can be opened any number of times.
// Implementations are safe for concurrent use.
type Content interface {
	// Open returns the data from its beginning.
	Open() (io.ReadCloser, error)
	// Size is the length in bytes.
	Size() int64
	// SHA256 is the digest of the data in lower-case hex. Caches, manifests and comparisons
	// rely on it.
	SHA256() string
}

// Checked is content whose reader verifies itself: it fails before its end if the data does
// not match SHA256, so that callers need not hash it.
type Checked interface {
	Content
	// ChecksItself marks the type and does nothing.
	ChecksItself()
}

// Bytes returns content that is held in memory. The slice must not change afterwards.
func Bytes(b []byte) Content {
	sum := sha256.Sum256(b)
	return &bytesContent{data: b, sum: hex.EncodeToString(sum[:])}
}

// String is Bytes for a string.
func String(s string) Content { return Bytes([]byte(s)) }

type bytesContent struct {
	data []byte
	sum  string
}

func (c *bytesContent) Open() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(c.data)), nil
}
func (c *bytesContent) Size() int64    { return int64(len(c.data)) }
func (c *bytesContent) SHA256() string { return c.sum }

// File returns the content of a host file whose length and digest were verified, such as a
// component in the cache.
func File(name string, size int64, sha256 string) Content {
	return &fileContent{name: name, size: size, sum: sha256}
}

type fileContent struct {
	name string
	size int64
	sum  string
}

func (c *fileContent) Open() (io.ReadCloser, error) { return os.Open(c.name) }
func (c *fileContent) Size() int64                  { return c.size }
func (c *fileContent) SHA256() string               { return c.sum }

// mostRead bounds how many bytes of a file are read into memory. An image may be hostile,
// and a file with nothing but holes takes no space in it.
const mostRead = 64 << 20

// ReadAll returns the content of a regular file of the tree. It follows a hard link but not
// a symbolic link at p. It refuses a file of more than 64 MiB.
func (t *Tree) ReadAll(p string) ([]byte, error) {
	n := t.Get(p)
	if n != nil && n.IsHardLink() {
		n = t.Get(n.Link)
	}
	if n == nil || n.Content == nil {
		return nil, fmt.Errorf("/%s: not a regular file of the tree", p)
	}
	if n.Size() > mostRead {
		return nil, fmt.Errorf("/%s: has %d bytes; at most %d are read", p, n.Size(), mostRead)
	}
	r, err := n.Content.Open()
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", p, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", p, err)
	}
	return b, nil
}

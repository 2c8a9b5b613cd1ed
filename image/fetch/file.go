package fetch

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
)

// File is an entry of the cache. Whoever reads it gets what was once put
// there, or a *DamagedError.
type File struct {
	kind, key, path string
	size            int64
	sum             string
}

// Path is where the content lies, for those who read only parts of it and
// know damage when they see it.
func (f *File) Path() string { return f.path }

// Size is the length in bytes.
func (f *File) Size() int64 { return f.size }

// SHA256 is the digest in lower-case hex.
func (f *File) SHA256() string { return f.sum }

// ChecksItself is true of what Open returns: tree.Checked.
func (f *File) ChecksItself() {}

// Open returns the content, checked: the read that would deliver its last byte
// fails instead when the digest differs.
func (f *File) Open() (io.ReadCloser, error) { return f.Section(0, f.size, f.sum) }

// Section is Open for a part of the content whose digest is known. Nothing is
// kept open: all files of an image together are more than many systems let a
// process hold open.
func (f *File) Section(off, size int64, sum string) (io.ReadCloser, error) {
	r, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) { // pruned in the middle of a build
		return nil, f.Damaged(err)
	}
	if err != nil {
		return nil, err
	}
	c := &checkedReader{f: f, r: r, hash: sha256.New(), sum: sum, pos: off, end: off + size}
	if size == 0 { // no read will come to an end
		c.err = cmp.Or(c.check(), io.EOF)
	}
	return c, nil
}

// Bytes returns the whole content.
func (f *File) Bytes() ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Verify reads the content for nothing but its digest.
func (f *File) Verify() error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
	return err
}

// Damaged marks err as the cache's fault: dropping the entry mends it.
func (f *File) Damaged(err error) error { return &DamagedError{f.kind, f.key, err} }

// checkedReader holds back the last bytes until they are known to be right: a
// reader that asks for exactly the size never sees a later error.
type checkedReader struct {
	f        *File
	r        *os.File
	hash     hash.Hash
	sum      string
	pos, end int64
	err      error
}

func (r *checkedReader) Read(p []byte) (int, error) {
	if r.err == nil && r.pos == r.end {
		r.err = io.EOF
	}
	if r.err != nil {
		return 0, r.err
	}
	p = p[:min(int64(len(p)), r.end-r.pos)]
	n, err := r.r.ReadAt(p, r.pos)
	r.hash.Write(p[:n])
	r.pos += int64(n)
	switch {
	case r.pos == r.end:
		r.err = r.check()
	case err == io.EOF:
		r.err = r.f.Damaged(io.ErrUnexpectedEOF)
	default:
		r.err = err
	}
	if r.err != nil {
		return 0, r.err
	}
	return n, nil
}

func (r *checkedReader) check() error {
	if got := hex.EncodeToString(r.hash.Sum(nil)); got != r.sum {
		return r.f.Damaged(&DigestError{Want: r.sum, Got: got})
	}
	return nil
}

func (r *checkedReader) Close() error { return r.r.Close() }

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

// File is an entry of the cache. Reading it returns the content that was put there, or a
// *DamagedError.
type File struct {
	kind, key, path string
	size            int64
	sum             string
}

// Path is the path of the content, for callers that read only parts of it and can detect
// damage themselves.
func (f *File) Path() string { return f.path }

// Size is the length of the content in bytes.
func (f *File) Size() int64 { return f.size }

// SHA256 is the digest of the content in lower-case hex.
func (f *File) SHA256() string { return f.sum }

// ChecksItself marks File as tree.Checked: the readers that Open returns verify the
// content.
func (f *File) ChecksItself() {}

// Open returns a reader that verifies the content: if the digest differs, the read that
// would deliver the last byte fails.
func (f *File) Open() (io.ReadCloser, error) { return f.Section(0, f.size, f.sum) }

// Section is Open for a part of the content whose digest is known. Each call opens the file
// anew: an image has more files than many systems let a process hold open.
func (f *File) Section(off, size int64, sum string) (io.ReadCloser, error) {
	r, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) { // removed by Prune during a build
		return nil, f.Damaged(err)
	}
	if err != nil {
		return nil, err
	}
	c := &checkedReader{f: f, r: r, hash: sha256.New(), sum: sum, pos: off, end: off + size}
	if size == 0 { // Read would never reach the end, so check now
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

// Verify reads the content only to check its digest.
func (f *File) Verify() error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
	return err
}

// Damaged wraps err as damage of this cache entry, which dropping the entry repairs.
func (f *File) Damaged(err error) error { return &DamagedError{f.kind, f.key, err} }

// checkedReader withholds the last bytes until the digest is verified: a reader that asks
// for exactly size bytes would not see a later error.
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

package deb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// Kind is the kind of derived files that hold decoded packages.
const Kind = "deb"

// derived names one derived file. It is opened anew for every content: the
// packages of an image together are more files than many systems let a
// process hold open.
type derived struct{ path, key string }

// damaged marks err as the cache's fault: dropping the entry mends it.
func (d *derived) damaged(err error) error {
	return &fetch.DamagedError{Kind: Kind, Key: d.key, Err: err}
}

// content is a regular file of a package.
type content struct {
	in *derived
	at *extent
}

func (c *content) Size() int64    { return c.at.size }
func (c *content) SHA256() string { return hexSum(c.at.sum) }

// Open returns the data, verified: the read that would deliver its last byte
// fails with a *fetch.DamagedError instead when the digest differs.
func (c *content) Open() (io.ReadCloser, error) {
	f, err := os.Open(c.in.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, c.in.damaged(err)
	}
	if err != nil {
		return nil, err
	}
	return &contentReader{c: c, f: f, hash: sha256.New(), left: c.at.size}, nil
}

type contentReader struct {
	c    *content
	f    *os.File
	hash hash.Hash
	left int64
	err  error
}

func (r *contentReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		// Empty files come here first; others were verified already.
		if r.c.at.size == 0 {
			r.err = r.verify()
		}
		if r.err == nil {
			r.err = io.EOF
		}
		return 0, r.err
	}
	p = p[:min(int64(len(p)), r.left)]
	n, err := r.f.ReadAt(p, r.c.at.off+r.c.at.size-r.left)
	r.hash.Write(p[:n])
	r.left -= int64(n)
	if r.left == 0 {
		// A reader that asks for exactly Size bytes never sees a later error:
		// the last bytes are held back until they are known to be right.
		r.err = r.verify()
	} else if err == io.EOF {
		r.err = r.c.in.damaged(io.ErrUnexpectedEOF)
	} else {
		r.err = err
	}
	if r.err != nil {
		return 0, r.err
	}
	return n, nil
}

func (r *contentReader) verify() error {
	if !bytes.Equal(r.hash.Sum(nil), r.c.at.sum[:]) {
		return r.c.in.damaged(errors.New("content differs from its digest"))
	}
	return nil
}

func (r *contentReader) Close() error { return r.f.Close() }

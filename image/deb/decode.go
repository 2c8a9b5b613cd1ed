package deb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Decode returns the package in a downloaded .deb. It decodes it into the cache the first
// time; later calls read only the index. Damage of the cache is a *fetch.DamagedError: for
// the index from Decode, for contents when they are read.
//
// Other errors name the package's file and the faulty member.
func Decode(ctx context.Context, c *fetch.Cache, deb *fetch.File, p progress.Reporter) (*Package, error) {
	f, err := c.Derive(ctx, Kind, deb.SHA256()+formatKey, func(w io.Writer) error {
		return build(ctx, w, deb, p)
	})
	if err != nil {
		return nil, err
	}
	pkg, entries, err := load(f)
	if err != nil {
		return nil, err
	}
	pkg.SHA256 = deb.SHA256()
	pkg.Nodes = make([]*tree.Node, len(entries))
	contents := make([]content, len(entries))
	for i, e := range entries {
		pkg.Nodes[i] = e.node
		if e.file != nil {
			contents[i] = content{f, e.file}
			e.node.Content = &contents[i]
		}
	}
	return pkg, nil
}

func load(file *fetch.File) (*Package, []entry, error) {
	f, err := os.Open(file.Path())
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	index, contents, err := readIndex(f, file.Size())
	if err != nil {
		return nil, nil, file.Damaged(err)
	}
	pkg, entries, err := decodeIndex(index, contents)
	if err != nil {
		return nil, nil, file.Damaged(err)
	}
	return pkg, entries, nil
}

// build writes the derived file of a package.
func build(ctx context.Context, w io.Writer, deb *fetch.File, p progress.Reporter) (err error) {
	f, err := os.Open(deb.Path())
	if err != nil {
		return err
	}
	defer f.Close()
	task := p.Start("decode", filepath.Base(deb.Path()), deb.Size())
	defer func() { task.Done(err) }()
	// Verify the .deb before parsing it. Hashing takes a hundredth of the time of decoding.
	if err := deb.Verify(); err != nil {
		return err
	}
	if err := unpack(ctx, w, f, deb.Size(), defaultLimits, task.Add); err != nil {
		return fmt.Errorf("%s: %w", deb.Path(), err)
	}
	return nil
}

// onlyReader hides io.WriterTo, which would allocate its own buffer.
type onlyReader struct{ io.Reader }

// unpack decodes the .deb r of size bytes and writes its derived file to w. seen is called
// with the number of bytes read.
func unpack(ctx context.Context, w io.Writer, r io.ReaderAt, size int64, lim limits, seen func(int64)) error {
	members, err := readMembers(r, size)
	if err != nil {
		return err
	}
	parts, err := findParts(r, members)
	if err != nil {
		return err
	}
	pkg := &Package{}
	if err := withMember(ctx, r, parts.control, seen, func(tar io.Reader) error {
		return pkg.readControl(tar, lim)
	}); err != nil {
		return err
	}
	s := &store{w: w, buf: make([]byte, 64<<10)}
	var entries []entry
	if err := withMember(ctx, r, parts.data, seen, func(tar io.Reader) (err error) {
		d := &dataReader{limits: lim, store: s.add}
		entries, err = d.read(tar)
		return err
	}); err != nil {
		return err
	}
	_, err = w.Write(appendTrailer(appendIndex(nil, pkg, entries), s.off))
	return err
}

// withMember calls read with the decompressed member m. Errors name m.
func withMember(ctx context.Context, r io.ReaderAt, m member, seen func(int64), read func(io.Reader) error) error {
	tar, err := decompress(ctx, r, m, seen)
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	defer tar.Close()
	if err := read(tar); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	return nil
}

func (p *Package) readControl(r io.Reader, lim limits) error {
	files, err := readControl(r, lim)
	if err != nil {
		return err
	}
	p.Control = files["control"]
	delete(files, "control")
	p.ControlFiles = files
	return p.identify()
}

// store writes contents one after the other.
type store struct {
	w   io.Writer
	off int64
	buf []byte
}

func (s *store) add(r io.Reader, size int64) (*extent, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(s.w, h), onlyReader{r}, s.buf)
	if err != nil {
		return nil, err
	}
	if n != size {
		return nil, io.ErrUnexpectedEOF
	}
	x := &extent{off: s.off, size: size}
	h.Sum(x.sum[:0])
	s.off += size
	return x, nil
}

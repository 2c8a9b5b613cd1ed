package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

// window makes a stream readable at offsets, as long as no read begins before the previous one. It
// holds only the bytes of one read.
type window struct {
	r   io.Reader
	at  int64 // offset of has
	has []byte
}

func (w *window) ReadAt(b []byte, at int64) (int, error) {
	if at < w.at {
		return 0, errors.New("the update goes back in it")
	}
	old := min(at-w.at, int64(len(w.has)))
	w.has = append(w.has[:0], w.has[old:]...)
	w.at += old
	skipped, err := io.CopyN(io.Discard, w.r, at-w.at)
	if w.at += skipped; err != nil {
		return 0, err
	}
	have := len(w.has)
	if have < len(b) {
		w.has = append(w.has, make([]byte, len(b)-have)...)
		n, err := io.ReadFull(w.r, w.has[have:])
		if w.has = w.has[:have+n]; err != nil {
			return 0, err
		}
	}
	return copy(b, w.has), nil
}

// packing returns the file for r, its decompressed form: it compresses the packed section again.
func (f *File) packing(r io.Reader) io.Reader {
	return io.MultiReader(io.LimitReader(r, f.Packed.At), &packing{r: io.LimitReader(r, f.inside()), form: f.Packed.Form}, r)
}

// Former returns the running slot's file of this name, read from r, in the form that Base
// describes.
func (f *File) Former(r io.Reader) io.Reader { return f.Base.former(r) }

func (b *FileBase) former(r io.Reader) io.Reader {
	r = &edited{r: r, edits: blanks(b.Blank)}
	if p := b.Packed; p != nil {
		return io.MultiReader(io.LimitReader(r, p.At), &unpacking{r: io.LimitReader(r, p.Size), form: p.Form}, r)
	}
	return r
}

func blanks(spans []Span) (edits []Edit) {
	for _, s := range spans {
		edits = append(edits, Edit{s.At, make([]byte, s.Size)})
	}
	return edits
}

// unpacking decompresses what it reads. It reads nothing before the first Read: in a MultiReader
// something else comes first.
type unpacking struct {
	r    io.Reader
	form codec.Form

	open io.Reader // nil before the first read
}

func (u *unpacking) Read(b []byte) (n int, err error) {
	if u.open == nil {
		if u.open, err = u.form.NewReader(u.r); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrOther, err)
		}
	}
	n, err = u.open.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", ErrOther, err)
	}
	return n, err
}

// packing compresses what it reads.
type packing struct {
	r    io.Reader
	form codec.Form

	w   io.WriteCloser // to out; nil before the first read
	out bytes.Buffer
	end error
}

func (p *packing) Read(b []byte) (n int, err error) {
	if p.w == nil {
		if p.w, err = p.form.NewWriter(&p.out); err != nil {
			return 0, err
		}
	}
	for p.out.Len() == 0 && p.end == nil {
		p.end = p.step()
	}
	if p.out.Len() == 0 {
		return 0, p.end
	}
	return p.out.Read(b)
}

// step compresses the next piece; at the end it returns io.EOF.
func (p *packing) step() error {
	_, err := io.CopyN(p.w, p.r, codec.BlockSize)
	if err != io.EOF {
		return err
	}
	if err := p.w.Close(); err != nil {
		return err
	}
	return io.EOF
}

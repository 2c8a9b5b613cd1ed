package artifact

import (
	"bytes"
	"errors"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

// window is a stream of which pieces are read, each of which begins at or behind the
// beginning of the last one. It holds no more than one.
type window struct {
	r   io.Reader
	at  int64 // of what it holds
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

// step compresses some more; at the end it returns io.EOF.
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

// Package compress writes compressed copies of images, and opens images whether they are
// raw, compressed, or in QEMU's format (image/qcow2).
//
// An image is cut into chunks that are compressed in parallel and concatenated. Each chunk
// is complete in itself: a zstd frame, gzip member or xz stream, which every decoder of
// these formats joins. The chunks depend only on the data, so the result is the same on any
// number of CPUs.
//
// It does not guess: a file that begins with no known magic number is a raw image, whatever
// its name says.
package compress

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/going-mobile/imagebuilder/image/qcow2"
)

// Format is the format of an image, named as on the command line and as in a file's
// extension. The zero value is a raw image.
type Format string

// The formats.
const (
	None Format = ""
	Zstd Format = "zst"
	XZ   Format = "xz"
	Gzip Format = "gz"
	// QCOW2 is QEMU's format, for cloud providers; empty clusters are left out.
	QCOW2 Format = "qcow2"
)

// Formats lists the compressions that ParseFormat accepts.
var Formats = []Format{Zstd, XZ, Gzip}

// ParseFormat checks a name given by a user.
func ParseFormat(s string) (Format, error) {
	if f := Format(s); slices.Contains(Formats, f) {
		return f, nil
	}
	return None, fmt.Errorf("unknown compression %q: use zst, xz or gz", s)
}

// magics are the first bytes: RFC 8878 3.1.1, the xz file format 2.1.1.1,
// RFC 1952 2.3.1, docs/interop/qcow2.rst.
var magics = []struct {
	format Format
	magic  []byte
}{
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{XZ, []byte{0xfd, '7', 'z', 'X', 'Z', 0x00}},
	{Gzip, []byte{0x1f, 0x8b, 0x08}},
	{QCOW2, []byte(qcow2.Magic)},
}

// Detect returns the format by the first bytes of a file.
func Detect(head []byte) Format {
	for _, m := range magics {
		if bytes.HasPrefix(head, m.magic) {
			return m.format
		}
	}
	return None
}

// Reader reads a raw image from its beginning, decompressing it if necessary.
type Reader struct {
	io.Reader
	// Format is the format that was detected.
	Format Format
	// Size is the length of the raw image in bytes, or -1 if it is not known before the end
	// is reached.
	Size int64

	close []func() error
}

// Close releases the decoder, and the file if Open opened one.
func (r *Reader) Close() error {
	var first error
	for _, f := range slices.Backward(r.close) {
		if err := f(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Open opens an image file in any format.
func Open(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r.close = slices.Insert(r.close, 0, f.Close)
	if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() && r.Format == None {
		r.Size = fi.Size()
	}
	return r, nil
}

// maxWindow bounds the memory that a hostile file can make a decoder use, in bytes; xz -9
// and zstd -19 need less.
const maxWindow = 128 << 20

// NewReader detects the format of r and decompresses it. Closing the Reader
// does not close r.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReaderSize(r, 1<<20)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	out := &Reader{Reader: b, Format: Detect(head), Size: -1}
	switch out.Format {
	case Zstd:
		var d *zstd.Decoder
		if d, err = zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			out.Reader = d
			out.close = append(out.close, func() error { d.Close(); return nil })
		}
	case XZ:
		out.Reader, err = xz.NewReader(b, maxWindow)
	case Gzip:
		out.Reader, err = gzip.NewReader(b)
	case QCOW2:
		return newDisk(r)
	default:
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", out.Format, err)
	}
	out.Reader = &named{out.Reader, out.Format}
	return out, nil
}

// newDisk reads the disk in an image of QEMU's format, whose clusters may be in any order
// in the file.
func newDisk(r io.Reader) (*Reader, error) {
	f, ok := r.(*os.File)
	if !ok {
		return nil, errors.New("is of QEMU's format (qcow2), which can be read from a file alone")
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d, err := qcow2.NewReader(f, fi.Size())
	if err != nil {
		return nil, err
	}
	return &Reader{Reader: io.NewSectionReader(d, 0, d.Size()), Format: QCOW2, Size: d.Size()}, nil
}

// named explains a decoder's errors. It also hides io.ErrUnexpectedEOF, by which decoders
// report a truncated file, from callers of io.ReadFull, which return it at a regular end.
type named struct {
	io.Reader
	format Format
}

func (r *named) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("the %s data is damaged or cut short: %w", r.format, err)
	}
	return n, err
}

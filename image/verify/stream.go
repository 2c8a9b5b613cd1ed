package verify

import (
	"bytes"
	"io"

	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
)

// How many bytes of both ends of a compressed image are kept while it is read: enough for
// the partition tables, and for the FAT of a boot partition of any size.
const (
	headSize = 16 << 20
	tailSize = 64 << 10
)

// ends keeps the first and the last bytes of what is written to it.
type ends struct{ head, tail []byte }

func (e *ends) Write(p []byte) (int, error) {
	if e.head == nil { // append would allocate several times as much
		e.head = make([]byte, 0, headSize)
	}
	e.head = append(e.head, p[:min(len(p), headSize-len(e.head))]...)
	e.tail = append(e.tail, p...)
	if more := len(e.tail) - tailSize; more > 0 {
		e.tail = append(e.tail[:0], e.tail[more:]...)
	}
	return len(p), nil
}

// stream is a compressed image for random access. Between the kept ends, going back means
// decompressing again from the start; readers of a boot partition mostly go forward.
type stream struct {
	name string
	kept *ends
	size int64

	r   *compress.Reader
	pos int64
}

func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	tail := s.size - int64(len(s.kept.tail))
	switch {
	case off >= s.size:
		return 0, io.EOF
	case off+int64(len(p)) <= int64(len(s.kept.head)):
		return copy(p, s.kept.head[off:]), nil
	case off >= tail:
		return bytes.NewReader(s.kept.tail).ReadAt(p, off-tail)
	}
	if err := s.seek(off); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.r, p)
	s.pos += int64(n)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

func (s *stream) seek(off int64) (err error) {
	if s.r == nil || off < s.pos {
		s.Close()
		if s.r, err = compress.Open(s.name); err != nil {
			return err
		}
	}
	n, err := io.CopyN(io.Discard, s.r, off-s.pos)
	s.pos += n
	return err
}

func (s *stream) Close() error {
	if s.r == nil {
		return nil
	}
	r := s.r
	s.r, s.pos = nil, 0
	return r.Close()
}

// blanked reads an image as if nobody had filled in node.yaml, which the builder fills with
// newlines.
type blanked struct {
	r   io.Reader
	at  []disk.Extent
	off int64
}

func (b *blanked) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	disk.Paste(p[:n], b.off, b.at, newlines(b.at))
	b.off += int64(n)
	return n, err
}

func newlines(at []disk.Extent) []byte {
	var size int64
	for _, e := range at {
		size += e.Length
	}
	return bytes.Repeat([]byte("\n"), int(size))
}

// blank reports whether the bytes at these extents are still the builder's newlines.
func blank(r io.ReaderAt, at []disk.Extent) bool {
	for _, e := range at {
		b := make([]byte, e.Length)
		if _, err := r.ReadAt(b, e.Offset); err != nil || len(bytes.Trim(b, "\n")) > 0 {
			return false
		}
	}
	return true
}

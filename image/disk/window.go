package disk

import (
	"fmt"
	"io"
)

// ReadWriterAt is a disk or an image file.
type ReadWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// Window is one partition of a disk, with offsets relative to its start. It refuses writes
// outside of the partition.
type Window struct {
	*io.SectionReader
	w          io.WriterAt
	start, end int64
}

// Window returns the partition p of rw.
func (p Partition) Window(rw ReadWriterAt) *Window {
	return &Window{io.NewSectionReader(rw, p.Start, p.Size), rw, p.Start, p.End()}
}

// Reader returns the partition p of r, for reading only.
func (p Partition) Reader(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, p.Start, p.Size)
}

// Writer returns the partition p of w, for a target that cannot be read.
func (p Partition) Writer(w io.WriterAt) io.WriterAt {
	return &Window{nil, w, p.Start, p.End()}
}

// WriteAt refuses data that does not fit into the partition, before writing any of it.
func (w *Window) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > w.end-w.start || int64(len(p)) > w.end-w.start-off {
		return 0, fmt.Errorf("%d bytes at %d do not fit into a partition of %d", len(p), off, w.end-w.start)
	}
	return w.w.WriteAt(p, w.start+off)
}

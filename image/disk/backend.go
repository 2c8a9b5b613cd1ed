package disk

import (
	"errors"
	"io"
	"io/fs"
)

// backend is go-diskfs's idea of a file over plain io. It has no Sync, so
// that writing a table is not four fsyncs; the caller syncs once.
type backend struct {
	r    io.ReaderAt
	w    io.WriterAt
	size int64
}

func (b backend) ReadAt(p []byte, off int64) (int, error)  { return b.r.ReadAt(p, off) }
func (b backend) WriteAt(p []byte, off int64) (int, error) { return b.w.WriteAt(p, off) }
func (b backend) Stat() (fs.FileInfo, error)               { return nil, errors.ErrUnsupported }
func (b backend) Read([]byte) (int, error)                 { return 0, errors.ErrUnsupported }
func (b backend) Close() error                             { return nil }

// Seek is only ever asked for the size.
func (b backend) Seek(off int64, whence int) (int64, error) {
	if off != 0 || whence != io.SeekEnd {
		return 0, errors.ErrUnsupported
	}
	return b.size, nil
}

// sectorWriter is the first sector, in memory.
type sectorWriter []byte

func (s sectorWriter) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(s)) {
		return 0, io.ErrShortWrite
	}
	return copy(s[off:], p), nil
}

// splitWriter keeps writes to the first sector in memory.
type splitWriter struct {
	first sectorWriter
	rest  io.WriterAt
}

func (s splitWriter) WriteAt(p []byte, off int64) (int, error) {
	if off < SectorSize {
		return s.first.WriteAt(p, off)
	}
	return s.rest.WriteAt(p, off)
}

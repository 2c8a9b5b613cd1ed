package disk

import (
	"errors"
	"io"
	"io/fs"
)

// backend implements go-diskfs's file interface over plain io. It has no Sync, because
// writing a table would otherwise cost four fsyncs; the caller syncs once.
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

// Seek only returns the size: go-diskfs uses it for nothing else.
func (b backend) Seek(off int64, whence int) (int64, error) {
	if off != 0 || whence != io.SeekEnd {
		return 0, errors.ErrUnsupported
	}
	return b.size, nil
}

// sectorWriter holds the first sector in memory.
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

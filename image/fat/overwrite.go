package fat

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
)

// ReadWriterAt is a volume that can be changed in place.
type ReadWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// pad returns data followed by newlines up to size bytes; YAML and shell ignore the
// newlines.
func pad(data []byte, size int64) ([]byte, error) {
	if int64(len(data)) > size {
		return nil, fmt.Errorf("%d bytes do not fit into the %d reserved", len(data), size)
	}
	b := make([]byte, size)
	n := copy(b, data)
	for i := n; i < len(b); i++ {
		b[i] = '\n'
	}
	return b, nil
}

// Overwrite replaces the data of the file at p by data, padded with newlines to the file's
// size. Neither the FAT nor the directory changes, so a power cut can at worst mix old and
// new data of this file. The file may be fragmented. All reads and writes are whole
// 512-byte sectors, which raw devices on some systems require.
func Overwrite(rw ReadWriterAt, p string, data []byte) error {
	f, err := Open(rw)
	if err != nil {
		return err
	}
	ext, _, err := f.Locate(p)
	if err != nil {
		return err
	}
	padded, err := pad(data, length(ext))
	if err != nil {
		return &fs.PathError{Op: "overwrite", Path: p, Err: err}
	}
	for _, e := range ext {
		if err := overwriteRun(rw, e, padded[:e.Length]); err != nil {
			return &fs.PathError{Op: "overwrite", Path: p, Err: err}
		}
		padded = padded[e.Length:]
	}
	return nil
}

// overwriteRun writes those sectors of a run that differ. A run begins at a cluster
// boundary; the bytes after its end in the last sector do not change.
func overwriteRun(rw ReadWriterAt, e Extent, data []byte) error {
	size := (e.Length + sectorSize - 1) / sectorSize * sectorSize
	old := make([]byte, size)
	if _, err := rw.ReadAt(old, e.Offset); err != nil {
		return noEOF(err)
	}
	next := bytes.Clone(old)
	copy(next, data)
	for from := 0; from < len(next); {
		if sectorEqual(old, next, from) {
			from += sectorSize
			continue
		}
		to := from + sectorSize
		for to < len(next) && !sectorEqual(old, next, to) {
			to += sectorSize
		}
		if _, err := rw.WriteAt(next[from:to], e.Offset+int64(from)); err != nil {
			return err
		}
		from = to
	}
	return nil
}

func sectorEqual(a, b []byte, at int) bool {
	return bytes.Equal(a[at:at+sectorSize], b[at:at+sectorSize])
}

package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Touch adds an empty file to the root directory; if the name exists, it does nothing. name
// must be an 8.3 name. Touch writes one sector with a free entry, so after a power cut the
// file is either there or not. It does not enlarge a directory without a free entry: that
// is an error.
func Touch(rw ReadWriterAt, name string, now time.Time) error {
	f, err := Open(rw)
	if err != nil {
		return err
	}
	s, flags, ok := exactShort(name)
	if !ok {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrInvalid}
	}
	if _, err := f.lookup(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	at, err := f.freeEntry()
	if err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: err}
	}
	sector := make([]byte, sectorSize)
	from := at / sectorSize * sectorSize
	if _, err := rw.ReadAt(sector, from); err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: noEOF(err)}
	}
	w := writer{g: f.g}
	copy(sector[at-from:], w.encodeEntry(s, attrArchive, flags, now, 0, 0))
	if _, err := rw.WriteAt(sector, from); err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: err}
	}
	return nil
}

// freeEntry returns the offset of a free entry in the root directory. The first entry that
// was never used marks the end of the directory. Using it makes the next entry the end
// mark, so the next one must be empty.
func (f *FS) freeEntry() (at int64, err error) {
	ext, err := f.extents(f.g.rootCluster, maxDirSize)
	if err != nil {
		return 0, err
	}
	for _, e := range ext {
		b := make([]byte, e.Length)
		if _, err := f.r.ReadAt(b, e.Offset); err != nil {
			return 0, noEOF(err)
		}
		for off := 0; off+dirEntrySize <= len(b); off += dirEntrySize {
			switch b[off] {
			case entryFree:
				return e.Offset + int64(off), nil
			case entryEnd:
				if next := b[off+dirEntrySize:]; len(next) >= dirEntrySize && bytes.Equal(next[:dirEntrySize], make([]byte, dirEntrySize)) {
					return e.Offset + int64(off), nil
				}
				return 0, fmt.Errorf("the directory is full")
			}
		}
	}
	return 0, fmt.Errorf("the directory is full")
}

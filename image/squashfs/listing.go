package squashfs

import (
	"fmt"
	"math"
)

// listing is the position of a directory's names in the directory table.
type listing struct {
	start metaRef
	size  int64
	index []indexEntry
}

// indexEntry lets the kernel begin a lookup in the middle of a long listing: at a header
// that is offset bytes into the listing, in the given metadata block.
type indexEntry struct {
	offset, block int64
	name          string // the first name after that header
}

// writeListing writes the entries of d, in runs that share a header.
func writeListing(d *inode, dirs *metaWriter) listing {
	l := listing{start: dirs.pos()}
	if len(d.entries) == 0 {
		return listing{}
	}
	indexed := l.start.block()
	for rest := d.entries; len(rest) > 0; {
		if at := dirs.pos().block(); at != indexed {
			l.index = append(l.index, indexEntry{l.size, at, rest[0].name})
			indexed = at
		}
		n := runLength(rest)
		b := encodeRun(rest[:n])
		dirs.write(b)
		l.size += int64(len(b))
		rest = rest[n:]
	}
	return l
}

// runLength returns how many of the first entries fit after one header: at most 256
// entries, inodes in the same metadata block, inode numbers within 16 bits of the first,
// and no more bytes than a metadata block has, so that there is an index entry at least
// that often.
func runLength(entries []entry) int {
	first := entries[0].inode
	size := 12
	for n, e := range entries {
		delta := int64(e.inode.number) - int64(first.number)
		size += 8 + len(e.name)
		if n == maxDirRun || e.inode.ref.block() != first.ref.block() ||
			delta < math.MinInt16 || delta > math.MaxInt16 || size > metadataSize {
			return n
		}
	}
	return len(entries)
}

func encodeRun(entries []entry) []byte {
	first := entries[0].inode
	b := make([]byte, 0, metadataSize)
	b = le.AppendUint32(b, uint32(len(entries)-1))
	b = le.AppendUint32(b, uint32(first.ref.block()))
	b = le.AppendUint32(b, first.number)
	for _, e := range entries {
		b = le.AppendUint16(b, uint16(e.inode.ref.offset()))
		b = le.AppendUint16(b, uint16(e.inode.number-first.number))
		b = le.AppendUint16(b, e.inode.kind)
		b = le.AppendUint16(b, uint16(len(e.name)-1))
		b = append(b, e.name...)
	}
	return b
}

func (l listing) fits() error {
	if l.size > math.MaxUint32-dirSizeOverhead || len(l.index) > math.MaxUint16 {
		return fmt.Errorf("directory listing of %d bytes is too long for squashfs", l.size)
	}
	return nil
}

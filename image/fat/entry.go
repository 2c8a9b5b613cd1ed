package fat

import (
	"time"
	"unicode/utf16"
)

// Attributes of a directory entry.
const (
	attrVolume   = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLongName = 0x0f
	attrMask     = 0x3f
)

const (
	unitsPerEntry = 13
	lastLong      = 0x40 // marks the long entry that is stored first and has the highest number
	entryFree     = 0xe5
	entryEnd      = 0x00
	kanjiE5       = 0x05 // stored in place of a first byte 0xe5
)

// longOffsets are the offsets of the 13 UTF-16 units in a long name entry.
var longOffsets = [unitsPerEntry]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

func utf16Units(name string) []uint16 { return utf16.Encode([]rune(name)) }

// encodeDir returns a directory's entries. The clusters are zero after the last entry.
func (w *writer) encodeDir(it *item) []byte {
	b := make([]byte, 0, it.count*w.g.clusterSize())
	if it.parent == nil {
		if w.label != noLabel {
			b = append(b, w.encodeEntry(short([]byte(w.label)), attrVolume, 0, w.opt.ModTime, 0, 0)...)
		}
	} else {
		b = append(b, w.dotEntry(".", it, it.first)...)
		b = append(b, w.dotEntry("..", it, w.parentCluster(it))...)
	}
	for _, e := range it.entries {
		if e.long {
			b = append(b, encodeLong(e.name(), e.short.checksum())...)
		}
		attr, size := byte(attrDir), int64(0)
		if e.content != nil {
			attr, size = attrArchive, e.content.Size()
		}
		b = append(b, w.encodeEntry(e.short, attr, e.flags, w.modTime(e), e.first, uint32(size))...)
	}
	return b[:cap(b)]
}

func (w *writer) modTime(it *item) time.Time {
	if it.node.ModTime.IsZero() {
		return w.opt.ModTime
	}
	return it.node.ModTime
}

// parentCluster is the cluster of the ".." entry: 0 if the parent is the root, whatever its
// cluster is (fatgen103, "Directories").
func (w *writer) parentCluster(it *item) uint32 {
	if it.parent.parent == nil {
		return 0
	}
	return it.parent.first
}

func (w *writer) dotEntry(name string, it *item, cluster uint32) []byte {
	var s short
	copy(s[:], name+"          ")
	return w.encodeEntry(s, attrDir, 0, w.modTime(it), cluster, 0)
}

func (w *writer) encodeEntry(s short, attr, flags byte, t time.Time, cluster, size uint32) []byte {
	b := make([]byte, dirEntrySize)
	date, clock := dosTime(t)
	copy(b, s[:])
	b[11], b[12] = attr, flags
	le.PutUint16(b[14:], clock) // created
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date) // accessed
	le.PutUint16(b[20:], uint16(cluster>>16))
	le.PutUint16(b[22:], clock) // written
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], uint16(cluster))
	le.PutUint32(b[28:], size)
	return b
}

// encodeLong returns the long name entries in the order in which they are stored: last part
// first.
func encodeLong(name string, sum byte) []byte {
	units := utf16Units(name)
	n := (len(units) + unitsPerEntry - 1) / unitsPerEntry
	var b []byte
	for i := n; i >= 1; i-- {
		e := make([]byte, dirEntrySize)
		e[0] = byte(i)
		if i == n {
			e[0] |= lastLong
		}
		e[11], e[13] = attrLongName, sum
		for j, off := range longOffsets {
			le.PutUint16(e[off:], longUnit(units, (i-1)*unitsPerEntry+j))
		}
		b = append(b, e...)
	}
	return b
}

// longUnit is unit i of a name. The end of the name is followed by one 0, then by 0xffff.
func longUnit(units []uint16, i int) uint16 {
	switch {
	case i < len(units):
		return units[i]
	case i == len(units):
		return 0
	}
	return 0xffff
}

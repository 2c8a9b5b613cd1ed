// Package cpio writes and reads initramfs archives: the "newc" format of
// cpio(1) as the kernel understands it
// (Documentation/driver-api/early-userspace/buffer-format.rst).
//
// It refuses what the format loses or the kernel skips without a word:
// extended attributes, files of 4 GiB and more, names longer than PATH_MAX,
// times before 1970 or after 2106, sockets and FIFOs.
package cpio

import (
	"io/fs"
)

const (
	magic      = "070701"
	headerSize = 110 // the magic and 13 numbers of 8 hexadecimal digits
	trailer    = "TRAILER!!!"
	pathMax    = 4096 // with the closing NUL
	// unit is the multiple that archives are padded to, so that another may
	// follow: cpio(1)'s block.
	unit = 512
)

// entry is the header of one record, in the order of its fields.
type entry struct {
	inode, mode, uid, gid, links, mtime, size uint32
	devMajor, devMinor                        uint32 // of the file system, 0
	major, minor                              uint32 // of a device node
	nameSize                                  uint32 // with the closing NUL
	sum                                       uint32 // not used by newc
}

func (e *entry) fields() []*uint32 {
	return []*uint32{
		&e.inode, &e.mode, &e.uid, &e.gid, &e.links, &e.mtime, &e.size,
		&e.devMajor, &e.devMinor, &e.major, &e.minor, &e.nameSize, &e.sum,
	}
}

// Types in the mode field, stat(2).
const (
	typeMask    = 0o170000
	typeChar    = 0o020000
	typeDir     = 0o040000
	typeBlock   = 0o060000
	typeRegular = 0o100000
	typeSymlink = 0o120000
)

// modeBits pairs the bits of stat(2) with Go's.
var modeBits = []struct {
	stat uint32
	mode fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

var modeTypes = []struct {
	stat uint32
	mode fs.FileMode
}{
	{typeRegular, 0},
	{typeDir, fs.ModeDir},
	{typeSymlink, fs.ModeSymlink},
	{typeChar, fs.ModeDevice | fs.ModeCharDevice},
	{typeBlock, fs.ModeDevice},
}

// statMode converts a mode; false for types that do not belong here.
func statMode(m fs.FileMode) (uint32, bool) {
	stat := uint32(m.Perm())
	for _, b := range modeBits {
		if m&b.mode != 0 {
			stat |= b.stat
		}
	}
	for _, t := range modeTypes {
		if m&fs.ModeType == t.mode {
			return stat | t.stat, true
		}
	}
	return 0, false
}

// goMode is the inverse of statMode.
func goMode(stat uint32) (fs.FileMode, bool) {
	m := fs.FileMode(stat & 0o777)
	for _, b := range modeBits {
		if stat&b.stat != 0 {
			m |= b.mode
		}
	}
	for _, t := range modeTypes {
		if stat&typeMask == t.stat {
			return m | t.mode, true
		}
	}
	return 0, false
}

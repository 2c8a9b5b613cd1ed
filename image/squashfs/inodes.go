package squashfs

import (
	"io/fs"
	"math"
)

// writeInodes writes the inode table and the directory table. A listing refers to the
// inodes in it, and a directory's inode to its listing, so a directory comes after
// everything below it.
func writeInodes(p *plan, inodes, dirs *metaWriter) error {
	written := make([]bool, len(p.inodes)+1)
	if err := writeDir(p.root, inodes, dirs, written); err != nil {
		return err
	}
	inodes.flush()
	dirs.flush()
	if err := inodes.fits("inode"); err != nil {
		return err
	}
	return dirs.fits("directory")
}

// writeDir recurses as deep as the longest path, whose length limits the stack.
func writeDir(d *inode, inodes, dirs *metaWriter, written []bool) error {
	for _, e := range d.entries {
		i := e.inode
		if written[i.number] {
			continue
		}
		written[i.number] = true
		if i.kind == typeDir {
			if err := writeDir(i, inodes, dirs, written); err != nil {
				return err
			}
			continue
		}
		i.ref = inodes.pos()
		inodes.write(i.encode())
	}
	l := writeListing(d, dirs)
	d.ref = inodes.pos()
	b, err := d.encodeDir(l)
	inodes.write(b)
	return err
}

// encode returns any inode except a directory's. Inodes with attributes, and files that
// need larger fields, have the extended form.
func (i *inode) encode() []byte {
	if i.kind == typeFile {
		return i.encodeFile()
	}
	kind := i.kind
	if i.xattrs != noXattrs {
		kind += extended
	}
	b := i.header(kind)
	b = le.AppendUint32(b, i.nlink)
	switch i.kind {
	case typeSymlink:
		b = le.AppendUint32(b, uint32(len(i.node.Link)))
		b = append(b, i.node.Link...)
	case typeBlock, typeChar:
		b = le.AppendUint32(b, encodeDev(i.node.Dev.Major, i.node.Dev.Minor))
	}
	if kind > extended {
		b = le.AppendUint32(b, i.xattrs)
	}
	return b
}

func (i *inode) encodeFile() []byte {
	f := i.file
	if f == nil {
		f = &file{fragment: noFragment}
	}
	basic := i.nlink == 1 && i.xattrs == noXattrs && f.sparse == 0 && f.size <= math.MaxUint32 && f.start <= math.MaxUint32
	var b []byte
	if basic {
		b = i.header(typeFile)
		b = le.AppendUint32(b, uint32(f.start))
		b = le.AppendUint32(b, f.fragment)
		b = le.AppendUint32(b, f.offset)
		b = le.AppendUint32(b, uint32(f.size))
	} else {
		b = i.header(typeFile + extended)
		b = le.AppendUint64(b, uint64(f.start))
		b = le.AppendUint64(b, uint64(f.size))
		b = le.AppendUint64(b, uint64(f.sparse))
		b = le.AppendUint32(b, i.nlink)
		b = le.AppendUint32(b, f.fragment)
		b = le.AppendUint32(b, f.offset)
		b = le.AppendUint32(b, i.xattrs)
	}
	for _, size := range f.blocks {
		b = le.AppendUint32(b, size)
	}
	return b
}

// encodeDir returns the inode of a directory whose listing is l.
func (i *inode) encodeDir(l listing) ([]byte, error) {
	size := l.size + dirSizeOverhead
	if i.xattrs == noXattrs && size <= math.MaxUint16 && len(l.index) == 0 {
		b := i.header(typeDir)
		b = le.AppendUint32(b, uint32(l.start.block()))
		b = le.AppendUint32(b, i.nlink)
		b = le.AppendUint16(b, uint16(size))
		b = le.AppendUint16(b, uint16(l.start.offset()))
		return le.AppendUint32(b, i.parent.number), nil
	}
	if err := l.fits(); err != nil {
		return nil, err
	}
	b := i.header(typeDir + extended)
	b = le.AppendUint32(b, i.nlink)
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, uint32(l.start.block()))
	b = le.AppendUint32(b, i.parent.number)
	b = le.AppendUint16(b, uint16(len(l.index)))
	b = le.AppendUint16(b, uint16(l.start.offset()))
	b = le.AppendUint32(b, i.xattrs)
	for _, x := range l.index {
		b = le.AppendUint32(b, uint32(x.offset))
		b = le.AppendUint32(b, uint32(x.block))
		b = le.AppendUint32(b, uint32(len(x.name)-1))
		b = append(b, x.name...)
	}
	return b, nil
}

// header returns the fields at the beginning of every inode.
func (i *inode) header(kind uint16) []byte {
	b := make([]byte, 0, 64)
	b = le.AppendUint16(b, kind)
	b = le.AppendUint16(b, unixPerm(i.node.Mode))
	b = le.AppendUint16(b, i.uid)
	b = le.AppendUint16(b, i.gid)
	b = le.AppendUint32(b, i.modTime)
	return le.AppendUint32(b, i.number)
}

// permBits pairs Go's mode bits outside fs.ModePerm with those of inode(7).
var permBits = []struct {
	mode fs.FileMode
	unix uint16
}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}}

func unixPerm(m fs.FileMode) uint16 {
	perm := uint16(m.Perm())
	for _, b := range permBits {
		if m&b.mode != 0 {
			perm |= b.unix
		}
	}
	return perm
}

func goPerm(unix uint16) fs.FileMode {
	m := fs.FileMode(unix & 0o777)
	for _, b := range permBits {
		if unix&b.unix != 0 {
			m |= b.mode
		}
	}
	return m
}

// encodeDev packs a device number like the kernel's new_encode_dev.
func encodeDev(major, minor uint32) uint32 { return minor&0xff | major<<8 | minor&^0xff<<12 }

func decodeDev(d uint32) (major, minor uint32) { return d & 0xfff00 >> 8, d&0xff | d>>12&0xfff00 }

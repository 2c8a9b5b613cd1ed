package squashfs

import (
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// inodeHeader begins every inode.
type inodeHeader struct {
	Kind, Perm uint16
	UID, GID   uint16
	ModTime    uint32
	Number     uint32
}

// dirRef is the position of a directory's listing.
type dirRef struct {
	block  uint32
	offset uint16
	size   uint32
}

// readInode returns the inode at ref as a node without a path and, for a directory, the
// position of its listing.
func (t *treeReader) readInode(ref metaRef) (*tree.Node, dirRef, error) {
	c, err := t.r.cursor(t.r.sb.InodeTable, ref)
	if err != nil {
		return nil, dirRef{}, err
	}
	var h inodeHeader
	if err := c.decode(&h); err != nil {
		return nil, dirRef{}, err
	}
	n := &tree.Node{Mode: goPerm(h.Perm), ModTime: time.Unix(int64(h.ModTime), 0).UTC(), Source: "squashfs"}
	if n.UID, err = t.r.id(h.UID); err != nil {
		return nil, dirRef{}, err
	}
	if n.GID, err = t.r.id(h.GID); err != nil {
		return nil, dirRef{}, err
	}
	d, xattrs, err := c.inodeBody(h.Kind, n)
	if err == nil {
		n.Xattrs, err = t.xattrs(xattrs)
	}
	return n, d, err
}

// inodeBody reads what follows an inode's header into n.
func (c *cursor) inodeBody(kind uint16, n *tree.Node) (d dirRef, xattrs uint32, err error) {
	xattrs = noXattrs
	basic := kind
	if basic > extended {
		basic -= extended
	}
	switch basic {
	case typeDir:
		n.Mode |= fs.ModeDir
		d, xattrs, err = c.dirBody(kind)
		return d, xattrs, err
	case typeFile:
		xattrs, err = c.fileBody(kind, n)
		return d, xattrs, err
	case typeSymlink, typeBlock, typeChar, typeFifo, typeSocket:
		err = c.otherBody(basic, n)
	default:
		err = fmt.Errorf("corrupt squashfs: inode of type %d", kind)
	}
	if err == nil && kind > extended {
		xattrs, err = c.uint32()
	}
	return d, xattrs, err
}

func (c *cursor) dirBody(kind uint16) (dirRef, uint32, error) {
	if kind == typeDir {
		var b struct {
			Start, Nlink uint32
			Size, Offset uint16
			Parent       uint32
		}
		err := c.decode(&b)
		return dirRef{b.Start, b.Offset, uint32(b.Size)}, noXattrs, err
	}
	var b struct {
		Nlink, Size, Start, Parent uint32
		Index, Offset              uint16
		Xattrs                     uint32
	}
	err := c.decode(&b)
	return dirRef{b.Start, b.Offset, b.Size}, b.Xattrs, err
}

func (c *cursor) fileBody(kind uint16, n *tree.Node) (uint32, error) {
	var b struct {
		Start, Size, Sparse             uint64
		Nlink, Fragment, Offset, Xattrs uint32
	}
	if kind == typeFile {
		var s struct{ Start, Fragment, Offset, Size uint32 }
		if err := c.decode(&s); err != nil {
			return 0, err
		}
		b.Start, b.Size, b.Fragment, b.Offset, b.Xattrs = uint64(s.Start), uint64(s.Size), s.Fragment, s.Offset, noXattrs
	} else if err := c.decode(&b); err != nil {
		return 0, err
	}
	sb := c.r.sb
	if b.Start > sb.BytesUsed || b.Size > math.MaxInt64-maxBlockSize {
		return 0, fmt.Errorf("corrupt squashfs: file of %d bytes at %d", b.Size, b.Start)
	}
	tail := b.Size % uint64(sb.BlockSize)
	if b.Fragment != noFragment && (b.Fragment >= sb.Fragments || uint64(b.Offset)+tail > uint64(sb.BlockSize)) {
		return 0, fmt.Errorf("corrupt squashfs: %d bytes at %d of fragment %d of %d", tail, b.Offset, b.Fragment, sb.Fragments)
	}
	n.Content = &content{
		r: c.r, size: int64(b.Size), start: int64(b.Start),
		fragment: b.Fragment, offset: b.Offset,
		blocks: c.place(),
	}
	return b.Xattrs, nil
}

// otherBody reads the fields of links, devices, pipes and sockets. All of them begin with
// the number of names.
func (c *cursor) otherBody(basic uint16, n *tree.Node) error {
	if _, err := c.uint32(); err != nil {
		return err
	}
	switch basic {
	case typeFifo:
		n.Mode |= fs.ModeNamedPipe
		return nil
	case typeSocket:
		n.Mode |= fs.ModeSocket
		return nil
	}
	v, err := c.uint32()
	if err != nil {
		return err
	}
	switch basic {
	case typeSymlink:
		n.Mode |= fs.ModeSymlink
		if v == 0 || v > maxSymlink {
			return fmt.Errorf("corrupt squashfs: symbolic link of %d bytes", v)
		}
		b, err := c.bytes(int(v))
		n.Link = string(b)
		return err
	case typeChar:
		n.Mode |= fs.ModeCharDevice
	}
	n.Mode |= fs.ModeDevice
	n.Dev.Major, n.Dev.Minor = decodeDev(v)
	return nil
}

// id returns the user or group with the given index.
func (r *Reader) id(index uint16) (id uint32, err error) {
	err = r.lookup("owner", r.sb.IDTable, uint32(index), uint32(r.sb.IDs), &id)
	return id, err
}

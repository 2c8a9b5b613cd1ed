package squashfs

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

const (
	maxPath = 4095 // PATH_MAX - 1
	// maxTree bounds the memory of a tree, in bytes of nodes, names, links and attributes:
	// a small image can describe a very large tree.
	maxTree  = 1 << 30
	nodeSize = 256
)

// treeReader builds the tree of an image.
type treeReader struct {
	r     *Reader
	t     *tree.Tree
	names map[metaRef]string           // first path of each directory and regular file
	attrs map[uint32]map[string][]byte // attribute sets that were read
	size  int64
}

// Tree returns the whole image as a tree. Contents are read when they are opened, and their
// digests are computed on the first request; the digest of a damaged file is "". The image
// must stay readable as long as the tree is in use. Names that are not UTF-8 are an error,
// because trees cannot represent them.
func (r *Reader) Tree() (*tree.Tree, error) {
	t := &treeReader{r: r, t: tree.New(), names: map[metaRef]string{}, attrs: map[uint32]map[string][]byte{}}
	if err := t.node(".", metaRef(r.sb.Root), typeDir); err != nil {
		return nil, err
	}
	return t.t, nil
}

// node adds the inode at ref, with everything below it, at path p.
func (t *treeReader) node(p string, ref metaRef, kind uint16) error {
	if first, ok := t.names[ref]; ok && kind == typeFile {
		return t.hardLink(p, first)
	} else if ok {
		return fmt.Errorf("corrupt squashfs: /%s is the directory /%s again", p, first)
	}
	n, dir, err := t.readInode(ref)
	if err != nil {
		return fmt.Errorf("/%s: %w", p, err)
	}
	if nodeKind(n.Mode) != kind {
		return fmt.Errorf("corrupt squashfs: /%s is of another type than its directory says", p)
	}
	if kind == typeFile || kind == typeDir {
		t.names[ref] = p
	}
	n.Path = p
	if err := t.put(n); err != nil {
		return err
	}
	if kind == typeDir {
		return t.list(p, dir)
	}
	return nil
}

func (t *treeReader) hardLink(p, first string) error {
	n := t.t.Get(first).Clone()
	n.Path, n.Link, n.Content = p, first, nil
	return t.put(n)
}

func (t *treeReader) put(n *tree.Node) error {
	t.size += nodeSize + int64(len(n.Path)+len(n.Link))
	if len(n.Path) > maxPath || t.size > maxTree {
		return fmt.Errorf("squashfs tree is too large at /%.40s…: paths have %d bytes at most, all metadata %d", n.Path, maxPath, maxTree)
	}
	return t.t.Put(n)
}

// list adds the entries of the directory p.
func (t *treeReader) list(p string, d dirRef) error {
	left := int64(d.size) - dirSizeOverhead
	if left <= 0 {
		return nil
	}
	c, err := t.r.cursor(t.r.sb.DirTable, newMetaRef(int64(d.block), int(d.offset)))
	if err != nil {
		return fmt.Errorf("/%s: %w", p, err)
	}
	last := ""
	for left > 0 {
		var h struct{ Count, Start, Number uint32 }
		if err := c.decode(&h); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
		left -= 12
		if h.Count >= maxDirRun {
			return fmt.Errorf("corrupt squashfs: /%s: %d entries behind one header", p, h.Count)
		}
		for range h.Count + 1 {
			e, err := c.entry(last)
			if err != nil {
				return fmt.Errorf("/%s: %w", p, err)
			}
			last = e.name
			left -= 8 + int64(len(e.name))
			if err := t.node(path.Join(p, e.name), newMetaRef(int64(h.Start), int(e.offset)), e.kind); err != nil {
				return err
			}
		}
	}
	if left < 0 {
		return fmt.Errorf("corrupt squashfs: /%s: listing is longer than its size", p)
	}
	return nil
}

type rawEntry struct {
	offset, kind uint16
	name         string
}

// entry reads the next entry of a listing. Its name must sort after last.
func (c *cursor) entry(last string) (rawEntry, error) {
	var e struct {
		Offset, Delta, Kind, Size uint16
	}
	if err := c.decode(&e); err != nil {
		return rawEntry{}, err
	}
	if e.Size > maxName {
		return rawEntry{}, fmt.Errorf("corrupt squashfs: name of %d bytes", e.Size+1)
	}
	b, err := c.bytes(int(e.Size) + 1)
	if err != nil {
		return rawEntry{}, err
	}
	name := string(b)
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || name <= last {
		return rawEntry{}, fmt.Errorf("corrupt squashfs: entry %q after %q", name, last)
	}
	return rawEntry{e.Offset, e.Kind, name}, nil
}

// xattrs returns the attributes of set number i. Nodes with equal sets share the map, which
// must not be changed, like everything in a node.
func (t *treeReader) xattrs(i uint32) (map[string][]byte, error) {
	if i == noXattrs || t.r.sb.XattrTable == noTable {
		return nil, nil
	}
	if m, ok := t.attrs[i]; ok {
		return m, nil
	}
	m, err := t.r.readXattrs(i)
	if err != nil {
		return nil, err
	}
	for k, v := range m {
		if t.size += nodeSize + int64(len(k)+len(v)); t.size > maxTree {
			return nil, fmt.Errorf("squashfs extended attributes are too large: %d bytes at most", maxTree)
		}
	}
	t.attrs[i] = m
	return m, nil
}

// nodeKind returns the basic inode type of a mode.
func nodeKind(m fs.FileMode) uint16 {
	switch m.Type() {
	case 0:
		return typeFile
	case fs.ModeDir:
		return typeDir
	case fs.ModeSymlink:
		return typeSymlink
	case fs.ModeDevice:
		return typeBlock
	case fs.ModeDevice | fs.ModeCharDevice:
		return typeChar
	case fs.ModeNamedPipe:
		return typeFifo
	}
	return typeSocket
}

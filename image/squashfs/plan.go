package squashfs

import (
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// plan is a tree in terms of squashfs: inodes, which may have several names, and contents,
// which several inodes may share.
type plan struct {
	root    *inode
	inodes  []*inode // by number, which begins at 1
	files   []*file  // distinct contents, in the order of the tree
	ids     idTable
	xattrs  xattrTable
	modTime uint32
}

// inode is one inode of the file system.
type inode struct {
	node     *tree.Node
	number   uint32
	kind     uint16 // basic type
	nlink    uint32
	uid, gid uint16 // indexes into the id table
	modTime  uint32
	xattrs   uint32 // index into the xattr table, or noXattrs
	file     *file  // of a regular file that is not empty
	parent   *inode
	entries  []entry // of a directory, sorted by name

	ref metaRef // its position in the inode table
}

type entry struct {
	name  string
	inode *inode
}

// file is one distinct content and, once packed, its position.
type file struct {
	content tree.Content
	digest  string
	size    int64
	name    string // its first path
	source  string // the Source of that node

	start    int64
	blocks   []uint32 // stored sizes, see storedBlock; 0 is a hole
	sparse   int64    // bytes in holes
	fragment uint32   // number of the fragment that contains it, or noFragment
	offset   uint32   // in that fragment
}

// planner makes a plan.
type planner struct {
	plan
	opt     Options
	tree    *tree.Tree
	byPath  map[string]*inode
	digests map[string]*file
}

func newPlan(t *tree.Tree, opt Options) (*plan, error) {
	p := &planner{
		opt: opt, tree: t,
		byPath:  make(map[string]*inode, t.Len()),
		digests: map[string]*file{},
	}
	p.modTime, _ = unixTime(opt.ModTime)
	p.ids.index = map[uint32]uint16{}
	p.xattrs.index = map[string]uint32{}
	for n := range t.Walk() {
		if err := p.add(n); err != nil {
			return nil, fmt.Errorf("/%s: %w", n.Path, err)
		}
	}
	p.number()
	return &p.plan, nil
}

// add adds one node below its parent; Walk visits the parent first.
func (p *planner) add(n *tree.Node) error {
	i, err := p.inodeOf(n)
	if err != nil {
		return err
	}
	p.byPath[n.Path] = i
	if n.Path == "." {
		p.root, i.parent = i, i
		return nil
	}
	parent := p.byPath[path.Dir(n.Path)]
	if parent == nil || parent.kind != typeDir {
		return fmt.Errorf("its parent is not a directory of the tree")
	}
	name := path.Base(n.Path)
	if len(name) > maxName || strings.ContainsRune(name, 0) {
		return fmt.Errorf("name has %d bytes or a NUL in it; squashfs takes 1 to %d", len(name), maxName)
	}
	parent.entries = append(parent.entries, entry{name, i})
	if i.kind == typeDir {
		parent.nlink++
		i.parent = parent
	}
	return nil
}

// inodeOf returns the inode of node n. It makes the inode for its first name.
func (p *planner) inodeOf(n *tree.Node) (*inode, error) {
	for hops := 0; n.IsHardLink(); hops++ {
		target := p.tree.Get(n.Link)
		if target == nil || !target.Mode.IsRegular() || hops > p.tree.Len() {
			return nil, fmt.Errorf("hard link to /%s, which is not a regular file of the tree", n.Link)
		}
		n = target
	}
	if i := p.byPath[n.Path]; i != nil {
		i.nlink++
		return i, nil
	}
	i, err := p.newInode(n)
	if err != nil {
		return nil, err
	}
	p.byPath[n.Path] = i
	return i, nil
}

func (p *planner) newInode(n *tree.Node) (*inode, error) {
	kind, err := kindOf(n)
	if err != nil {
		return nil, err
	}
	i := &inode{node: n, kind: kind, nlink: 1}
	if kind == typeDir {
		i.nlink = 2
	}
	i.modTime = p.modTime
	if !n.ModTime.IsZero() {
		if i.modTime, err = unixTime(n.ModTime); err != nil {
			return nil, err
		}
	}
	if i.uid, err = p.ids.add(n.UID); err != nil {
		return nil, err
	}
	if i.gid, err = p.ids.add(n.GID); err != nil {
		return nil, err
	}
	if i.xattrs, err = p.xattrs.add(n.Xattrs); err != nil {
		return nil, err
	}
	if kind == typeFile && n.Content.Size() > 0 {
		i.file = p.fileOf(n)
	}
	return i, nil
}

// fileOf returns the distinct content of n.
func (p *planner) fileOf(n *tree.Node) *file {
	digest := n.Content.SHA256()
	if f, ok := p.digests[digest]; ok && f.size == n.Content.Size() {
		return f
	}
	f := &file{content: n.Content, digest: digest, size: n.Content.Size(), name: n.Path, source: n.Source, fragment: noFragment}
	if f.size >= blockSize {
		f.blocks = make([]uint32, (f.size+blockSize-1)/blockSize)
	}
	p.digests[digest] = f
	p.files = append(p.files, f)
	return f
}

// number numbers the inodes directory by directory: the numbers in a listing then increase
// by one, which compresses to almost nothing.
func (p *planner) number() {
	p.give(p.root)
	for next := 0; next < len(p.inodes); next++ {
		for _, e := range p.inodes[next].entries {
			if e.inode.number == 0 {
				p.give(e.inode)
			}
		}
	}
}

func (p *planner) give(i *inode) {
	p.inodes = append(p.inodes, i)
	i.number = uint32(len(p.inodes))
}

// kindOf returns the basic inode type of n and checks the fields of that type.
func kindOf(n *tree.Node) (uint16, error) {
	switch t := n.Mode.Type(); t {
	case 0:
		if n.Content == nil {
			return 0, fmt.Errorf("regular file without content")
		}
		if n.Content.Size() < 0 || n.Content.Size() > math.MaxInt64/2 {
			return 0, fmt.Errorf("regular file of %d bytes", n.Content.Size())
		}
		return typeFile, nil
	case fs.ModeDir:
		return typeDir, nil
	case fs.ModeSymlink:
		if len(n.Link) == 0 || len(n.Link) > maxSymlink {
			return 0, fmt.Errorf("symbolic link of %d bytes; squashfs takes 1 to %d", len(n.Link), maxSymlink)
		}
		return typeSymlink, nil
	case fs.ModeNamedPipe:
		return typeFifo, nil
	case fs.ModeSocket:
		return typeSocket, nil
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		if n.Dev.Major >= 1<<12 || n.Dev.Minor >= 1<<20 {
			return 0, fmt.Errorf("device number %d:%d does not fit squashfs", n.Dev.Major, n.Dev.Minor)
		}
		if t == fs.ModeDevice {
			return typeBlock, nil
		}
		return typeChar, nil
	default:
		return 0, fmt.Errorf("squashfs has no files of type %s", t)
	}
}

// idTable is the table of uids and gids, to which inodes refer by index.
type idTable struct {
	ids   []uint32
	index map[uint32]uint16
}

func (t *idTable) add(id uint32) (uint16, error) {
	if i, ok := t.index[id]; ok {
		return i, nil
	}
	if len(t.ids) == maxIDs-1 { // the superblock counts them in 16 bits
		return 0, fmt.Errorf("more than %d different owners", maxIDs-1)
	}
	i := uint16(len(t.ids))
	t.ids = append(t.ids, id)
	t.index[id] = i
	return i, nil
}

// DataSize returns the number of bytes of distinct content in t, which is what Write packs.
func DataSize(t *tree.Tree) int64 {
	var total int64
	seen := map[string]bool{}
	for n := range t.Walk() {
		if n.Content == nil || n.Size() == 0 || seen[n.Content.SHA256()] {
			continue
		}
		seen[n.Content.SHA256()] = true
		total += n.Size()
	}
	return total
}

package fat

import (
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// item is a file or directory with its clusters on the volume.
type item struct {
	node    *tree.Node
	content tree.Content // nil for a directory
	parent  *item        // nil for the root
	entries []*item      // of a directory, in order
	short   short
	flags   byte
	long    bool // needs long name entries
	first   uint32
	count   int64 // clusters; 0 for an empty file
}

func (it *item) name() string { return path.Base(it.node.Path) }

// size is the length in bytes of a file's data or a directory's entries.
func (it *item) size(label bool) int64 {
	if it.content != nil {
		return it.content.Size()
	}
	n := 2 // . and ..
	if it.parent == nil {
		n = 0
		if label {
			n = 1
		}
	}
	for _, e := range it.entries {
		n += 1 + e.longEntries()
	}
	return int64(n) * dirEntrySize
}

func (it *item) longEntries() int {
	if !it.long {
		return 0
	}
	return (len(utf16Units(it.name())) + unitsPerEntry - 1) / unitsPerEntry
}

// collect turns the tree into items in the order of Walk, which is also the order of their
// data on the volume. The first item is the root directory.
func collect(t *tree.Tree) ([]*item, error) {
	var all []*item
	dirs := map[string]*item{}
	for n := range t.Walk() {
		it, err := newItem(t, n)
		if err != nil {
			return nil, fmt.Errorf("/%s: %w", n.Path, err)
		}
		if n.Path != "." {
			it.parent = dirs[path.Dir(n.Path)]
			it.parent.entries = append(it.parent.entries, it)
		}
		if it.content == nil {
			dirs[n.Path] = it
		}
		all = append(all, it)
	}
	return all, nil
}

func newItem(t *tree.Tree, n *tree.Node) (*item, error) {
	switch {
	case n.Path == ".":
		return &item{node: n}, nil
	case n.Mode.IsDir():
		return &item{node: n}, checkName(path.Base(n.Path))
	case !n.Mode.IsRegular():
		return nil, fmt.Errorf("FAT holds files and directories only, this is a %s", kind(n.Mode))
	}
	c := n.Content
	if n.IsHardLink() {
		target := t.Get(n.Link)
		if target == nil {
			return nil, fmt.Errorf("hard link to /%s, which is not there", n.Link)
		}
		c = target.Content
	}
	if c == nil {
		return nil, fmt.Errorf("file without content")
	}
	if c.Size() > maxFileSize {
		return nil, fmt.Errorf("%d bytes are more than a file on FAT can have, 4 GiB less one byte", c.Size())
	}
	return &item{node: n, content: c}, checkName(path.Base(n.Path))
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	}
	return "special file"
}

// nameEntries gives every entry of a directory its short name. Names that need no long name
// come first, because their short name is fixed.
func (it *item) nameEntries() error {
	a := newAliases()
	seen := map[string]*item{}
	for _, e := range it.entries {
		key := fold(e.name())
		if other, ok := seen[key]; ok {
			return fmt.Errorf("/%s and /%s differ only in case, which FAT cannot tell apart", other.node.Path, e.node.Path)
		}
		seen[key] = e
		s, flags, ok := exactShort(e.name())
		if e.long = !ok; ok {
			e.short, e.flags = s, flags
			a.taken[s] = true
		}
	}
	for _, e := range it.entries {
		if !e.long {
			continue
		}
		s, err := a.alias(e.name())
		if err != nil {
			return fmt.Errorf("/%s: %w", e.node.Path, err)
		}
		e.short = s
	}
	return nil
}

// place assigns consecutive clusters to all items and returns how many are in use.
func place(g geometry, items []*item, label bool) (used int64, err error) {
	for _, it := range items {
		size := it.size(label)
		if it.content == nil && size > maxDirSize {
			return 0, fmt.Errorf("/%s: %d entries are more than a FAT directory can have, %d", it.node.Path, size/dirEntrySize, maxDirSize/dirEntrySize)
		}
		it.count = g.clustersFor(size)
		if it.parent == nil {
			it.count = max(1, it.count)
		}
		if it.count > 0 {
			it.first = uint32(2 + used)
		}
		if used += it.count; used > g.clusters {
			return 0, fmt.Errorf("/%s does not fit: the volume of %d MiB holds %d bytes of files and directories, the content needs %d; make the volume larger", it.node.Path, g.totalSectors*g.bytesPerSector>>20, g.clusters*g.clusterSize(), needed(g, items, label))
		}
	}
	return used, nil
}

func needed(g geometry, items []*item, label bool) int64 {
	var n int64
	for _, it := range items {
		n += g.clustersFor(it.size(label)) * g.clusterSize()
	}
	return n
}

// dosTime encodes a UTC time, clamped to FAT's years 1980 to 2107.
func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	switch {
	case t.Year() < 1980:
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 2107:
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	clock = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	return date, clock
}

// goTime is the inverse of dosTime; it returns the zero time for impossible dates.
func goTime(date, clock uint16) time.Time {
	month, day := int(date>>5&15), int(date&31)
	if month < 1 || month > 12 || day < 1 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), time.Month(month), day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}

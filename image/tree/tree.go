// Package tree holds the data that every step of a build works on: a file tree in memory,
// with owners, modes, links, devices and extended attributes. File contents are opened only
// when needed, from wherever they are stored.
//
// A Tree never touches the host's file system and knows no image format. It keeps no
// history, but every node names its source, so that a conflict can name both sides.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Node is one entry of a Tree. Nodes are shared between trees and must not be
// changed once added; Put a Clone instead.
type Node struct {
	// Path is slash-separated and relative to the root, as io/fs defines it:
	// "usr/bin/bash"; the root itself is ".".
	Path string
	// Mode holds the type bits and the permissions in Go's representation
	// (fs.ModeSetuid, not 04000). A hard link is a regular file with Link set.
	Mode fs.FileMode
	UID  uint32
	GID  uint32
	// ModTime is written with a resolution of one second.
	ModTime time.Time
	// Link is the target of a symbolic link, verbatim. For a hard link it is the Path of
	// the regular file that has the content.
	Link string
	// Dev is the number of a character or block device.
	Dev Dev
	// Xattrs maps full attribute names ("security.capability") to values.
	Xattrs map[string][]byte
	// Content is the data of a regular file; nil for everything else and for
	// hard links.
	Content Content
	// Source says what this node comes from: "bash 5.2.37-2+b5", "overlay base", "rootfs
	// passwd".
	Source string
}

// Dev is a device number.
type Dev struct{ Major, Minor uint32 }

// Clone returns a copy that may be changed and Put into a tree. It shares Content and
// copies Xattrs.
func (n *Node) Clone() *Node {
	c := *n
	if n.Xattrs != nil {
		c.Xattrs = make(map[string][]byte, len(n.Xattrs))
		for k, v := range n.Xattrs {
			c.Xattrs[k] = v
		}
	}
	return &c
}

// IsHardLink reports whether n is another name of the regular file at n.Link.
func (n *Node) IsHardLink() bool { return n.Mode.IsRegular() && n.Link != "" }

// Size returns the length of a regular file's content in bytes, or 0 for other nodes and
// hard links.
func (n *Node) Size() int64 {
	if n.Content == nil {
		return 0
	}
	return n.Content.Size()
}

// ConflictError says that two sources have the same path.
type ConflictError struct{ Have, New *Node }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("/%s comes from both %s and %s", e.New.Path, e.Have.Source, e.New.Source)
}

// Tree is a set of nodes by path. The zero value is not usable; see New. It is not safe for
// concurrent changes.
type Tree struct {
	nodes map[string]*Node
}

// New returns a tree with only a root directory (0755, owned by root).
func New() *Tree {
	t := &Tree{nodes: map[string]*Node{}}
	t.nodes["."] = &Node{Path: ".", Mode: fs.ModeDir | 0o755, Source: "tree"}
	return t
}

// Clone returns a new tree with the same nodes, which may be changed independently.
func (t *Tree) Clone() *Tree { return &Tree{nodes: maps.Clone(t.nodes)} }

// Add inserts n. If both n and an existing node are directories, the existing one stays
// unchanged; any other existing node is a *ConflictError. A missing parent, or one that is
// not a directory, is an error: writers would lose the node.
func (t *Tree) Add(n *Node) error {
	if have, ok := t.nodes[n.Path]; ok {
		if have.Mode.IsDir() && n.Mode.IsDir() {
			return nil
		}
		return &ConflictError{Have: have, New: n}
	}
	return t.Put(n)
}

// Put inserts n, replacing the node at its path. A directory with children can only be
// replaced by a directory. Hard links to the path then refer to n; see Replace.
func (t *Tree) Put(n *Node) error {
	if !fs.ValidPath(n.Path) {
		return fmt.Errorf("%s: path %q is not clean and relative", n.Source, n.Path)
	}
	if n.Path != "." {
		parent, ok := t.nodes[path.Dir(n.Path)]
		if !ok {
			return fmt.Errorf("%s: /%s: parent directory is missing", n.Source, n.Path)
		}
		if !parent.Mode.IsDir() {
			return fmt.Errorf("%s: /%s: parent /%s is not a directory (from %s)", n.Source, n.Path, parent.Path, parent.Source)
		}
	}
	if have, ok := t.nodes[n.Path]; ok && have.Mode.IsDir() && !n.Mode.IsDir() && t.hasChildren(n.Path) {
		return &ConflictError{Have: have, New: n}
	}
	t.nodes[n.Path] = n
	return nil
}

// Replace is Put, except that hard links to the replaced file keep its content, as if it
// had been removed first.
func (t *Tree) Replace(n *Node) error {
	have := t.nodes[n.Path]
	if err := t.Put(n); err != nil {
		return err
	}
	if have != nil && have.Mode.IsRegular() && t.hasHardLinks(have.Path) { // rare; reviveLinks is slow
		t.reviveLinks(map[string]*Node{have.Path: have})
	}
	return nil
}

// MkdirAll adds the directory dir and its missing parents, 0755 and owned by
// root, with the given time and source.
func (t *Tree) MkdirAll(dir string, modTime time.Time, source string) error {
	if dir == "." {
		return nil
	}
	if have, ok := t.nodes[dir]; ok && have.Mode.IsDir() {
		return nil
	}
	if err := t.MkdirAll(path.Dir(dir), modTime, source); err != nil {
		return err
	}
	return t.Add(&Node{Path: dir, Mode: fs.ModeDir | 0o755, ModTime: modTime, Source: source})
}

// Get returns the node at p, without following links, or nil.
func (t *Tree) Get(p string) *Node { return t.nodes[p] }

// Len returns the number of nodes, including the root.
func (t *Tree) Len() int { return len(t.nodes) }

// Remove deletes the node at p and everything below it, and returns how many nodes it
// removed. The root cannot be removed. Hard links to a removed file stay usable; see
// RemoveFunc.
func (t *Tree) Remove(p string) int {
	if p == "." || t.nodes[p] == nil {
		return 0
	}
	return t.RemoveFunc(func(n *Node) bool { return n.Path == p || strings.HasPrefix(n.Path, p+"/") })
}

// RemoveFunc deletes every node for which drop returns true, except the root, and returns
// how many it removed. drop must select everything below a directory that it selects. If
// the target of a hard link is removed but the link is not, the link becomes the file.
func (t *Tree) RemoveFunc(drop func(*Node) bool) int {
	gone := map[string]*Node{}
	for p, n := range t.nodes {
		if p != "." && drop(n) {
			gone[p] = n
		}
	}
	t.reviveLinks(gone)
	for p := range gone {
		delete(t.nodes, p)
	}
	return len(gone)
}

// reviveLinks gives the content of each removed file to the first of its remaining hard
// links, and makes the others refer to that one.
func (t *Tree) reviveLinks(gone map[string]*Node) {
	heirs := map[string]string{}
	for n := range t.Walk() {
		target, lost := gone[n.Link]
		if !n.IsHardLink() || !lost || gone[n.Path] != nil {
			continue
		}
		c := n.Clone()
		if heir, ok := heirs[n.Link]; ok {
			c.Link = heir
		} else {
			heirs[n.Link] = n.Path
			c.Link, c.Content = "", target.Content
		}
		t.nodes[n.Path] = c
	}
}

// Walk yields all nodes in an order that depends only on their names; a directory comes
// before what is in it. The tree may be changed during the walk, which visits the paths
// that existed at its start.
func (t *Tree) Walk() iter.Seq[*Node] {
	paths := make([]string, 0, len(t.nodes))
	for p := range t.nodes {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, ComparePaths)
	return func(yield func(*Node) bool) {
		for _, p := range paths {
			if n, ok := t.nodes[p]; ok && !yield(n) {
				return
			}
		}
	}
}

// ComparePaths orders paths component by component, "." first: "a/b" sorts before "a-b".
func ComparePaths(a, b string) int {
	if a == "." || b == "." {
		return strings.Compare(strings.TrimPrefix(a, "."), strings.TrimPrefix(b, "."))
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		case a[i] < b[i]:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// Children returns the nodes directly inside dir, sorted by name.
func (t *Tree) Children(dir string) []*Node {
	var out []*Node
	for p, n := range t.nodes {
		if p != "." && path.Dir(p) == dir {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b *Node) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// ErrLoop is returned by Resolve for symbolic links that never end.
var ErrLoop = errors.New("too many levels of symbolic links")

// Resolve follows every symbolic link of p inside the tree, including the last, and returns
// the real node. p may be absolute. If there is no node, the error wraps fs.ErrNotExist.
func (t *Tree) Resolve(p string) (*Node, error) {
	real, err := t.realPath(p, 0)
	if err != nil {
		return nil, err
	}
	n, ok := t.nodes[real]
	if !ok {
		return nil, fmt.Errorf("/%s: %w", real, fs.ErrNotExist)
	}
	return n, nil
}

// RealPath resolves the symbolic links in p's directory, but not p itself, and returns the
// path at which a node added as p belongs. Directories that are not in the tree are kept as
// they are.
func (t *Tree) RealPath(p string) (string, error) {
	p = clean(p)
	if p == "." {
		return p, nil
	}
	dir, err := t.realPath(path.Dir(p), 0)
	if err != nil {
		return "", err
	}
	return path.Join(dir, path.Base(p)), nil
}

func (t *Tree) realPath(p string, depth int) (string, error) {
	if depth > 40 { // the kernel's limit, path_resolution(7)
		return "", fmt.Errorf("/%s: %w", clean(p), ErrLoop)
	}
	real := "."
	rest := strings.Split(clean(p), "/")
	for i, name := range rest {
		next := path.Join(real, name)
		n, ok := t.nodes[next]
		if !ok || n.Mode&fs.ModeSymlink == 0 {
			real = next
			continue
		}
		target := n.Link
		if !path.IsAbs(target) {
			target = path.Join("/", real, target)
		}
		return t.realPath(path.Join(append([]string{target}, rest[i+1:]...)...), depth+1)
	}
	return real, nil
}

func (t *Tree) hasChildren(dir string) bool {
	for p := range t.nodes {
		if p != "." && p != dir && path.Dir(p) == dir {
			return true
		}
	}
	return false
}

func (t *Tree) hasHardLinks(p string) bool {
	for _, n := range t.nodes {
		if n.IsHardLink() && n.Link == p {
			return true
		}
	}
	return false
}

// clean makes p relative to the root; ".." cannot leave the root.
func clean(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return "."
	}
	return p
}

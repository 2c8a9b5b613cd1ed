package rootfs

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/rootfs/accounts"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// state is what the effects share while one root is finished.
type state struct {
	tree     *tree.Tree
	packages map[string]*deb.Package
	accounts *accounts.Table
	arch     string
	epoch    time.Time
	source   string // Source of the nodes that the running step makes
}

func newState(t *tree.Tree, in Input) *state {
	s := &state{
		tree:     t,
		arch:     in.Arch,
		packages: map[string]*deb.Package{},
		accounts: accounts.New(in.Epoch),
		epoch:    in.Epoch.UTC().Truncate(time.Second),
		source:   "rootfs",
	}
	for _, p := range in.Packages {
		s.packages[p.Name] = p
	}
	return s
}

// has reports whether at least one of the named packages is in the image.
func (s *state) has(names ...string) bool {
	for _, name := range names {
		if s.packages[name] != nil {
			return true
		}
	}
	return false
}

// real returns p with the links in its directory resolved, so that effects may use paths
// such as /lib and /bin, as scripts do.
func (s *state) real(p string) (string, error) { return s.tree.RealPath(p) }

// exists reports whether there is a node at p, even a dangling link.
func (s *state) exists(p string) bool {
	real, err := s.real(p)
	return err == nil && s.tree.Get(real) != nil
}

// put adds n at the real path of p, replacing what is there, and makes missing parent
// directories. Unless n has a Source, the running step is its source.
func (s *state) put(p string, n tree.Node) error {
	real, err := s.real(p)
	if err != nil {
		return err
	}
	if err := s.tree.MkdirAll(path.Dir(real), s.epoch, s.source); err != nil {
		return err
	}
	n.Path = real
	if n.ModTime.IsZero() {
		n.ModTime = s.epoch
	}
	n.Source = cmp.Or(n.Source, s.source)
	return s.tree.Replace(&n)
}

// file writes a regular file that root owns.
func (s *state) file(p string, perm fs.FileMode, content string) error {
	return s.put(p, tree.Node{Mode: perm, Content: tree.String(content)})
}

// defaultFile writes a file unless something is at p: most scripts do not touch a file that
// an administrator, in an image an overlay, has made.
func (s *state) defaultFile(p string, perm fs.FileMode, content string) error {
	if s.exists(p) {
		return nil
	}
	return s.file(p, perm, content)
}

// defaultCopy copies the file src of the tree to dst, with its mode and time, unless
// something is at dst or src is missing.
func (s *state) defaultCopy(src, dst string) error {
	from, err := s.tree.Resolve(src)
	if err != nil || s.exists(dst) {
		return nil
	}
	if from.IsHardLink() {
		from = s.tree.Get(from.Link)
	}
	return s.put(dst, tree.Node{Mode: from.Mode, ModTime: from.ModTime, Content: from.Content})
}

// link makes the symbolic link p.
func (s *state) link(p, target string) error {
	return s.put(p, tree.Node{Mode: fs.ModeSymlink | 0o777, Link: target})
}

// defaultLink makes the symbolic link p unless something is there already.
func (s *state) defaultLink(p, target string) error {
	if s.exists(p) {
		return nil
	}
	return s.link(p, target)
}

// dir makes the directory p, or sets the attributes of one that exists.
func (s *state) dir(p string, perm fs.FileMode, uid, gid uint32) error {
	return s.put(p, tree.Node{Mode: fs.ModeDir | perm, UID: uid, GID: gid})
}

// defaultDir makes the directory p, owned by root, unless something is at p.
func (s *state) defaultDir(p string, perm fs.FileMode) error {
	if s.exists(p) {
		return nil
	}
	return s.dir(p, perm, 0, 0)
}

// restat changes owner and permissions of the node at p, as chown and chmod would. perm
// includes the setuid, setgid and sticky bits.
func (s *state) restat(p string, perm fs.FileMode, uid, gid uint32) error {
	real, err := s.real(p)
	if err != nil {
		return err
	}
	n := s.tree.Get(real)
	if n == nil {
		return fmt.Errorf("/%s: %w", real, fs.ErrNotExist)
	}
	c := n.Clone()
	c.Mode = n.Mode.Type() | perm
	c.UID, c.GID = uid, gid
	return s.tree.Put(c)
}

// remove deletes the nodes at the paths and everything below them, in one pass.
func (s *state) remove(paths ...string) {
	s.tree.RemoveFunc(func(n *tree.Node) bool {
		return slices.ContainsFunc(paths, func(p string) bool {
			return n.Path == p || strings.HasPrefix(n.Path, p+"/")
		})
	})
}

// below returns the nodes below dir, at any depth, in the order of Walk.
func (s *state) below(dir string) []*tree.Node {
	var nodes []*tree.Node
	for n := range s.tree.Walk() {
		if strings.HasPrefix(n.Path, dir+"/") {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// text returns the content of a file of the tree, or "" if it is missing.
func (s *state) text(p string) (string, error) {
	n, err := s.tree.Resolve(p)
	if err != nil {
		return "", nil
	}
	b, err := s.tree.ReadAll(n.Path)
	return string(b), err
}

// firstError returns the first error of errs. All the calls in its argument list have been
// made by then, even those after a failed one; this is harmless, because the tree is
// dropped on any error.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

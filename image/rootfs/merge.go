package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// mergePackages unpacks all packages into one tree. base-files comes first because it has
// the links /bin, /lib and /sbin, which lead the other packages' paths to /usr.
func mergePackages(packages []*deb.Package, epoch time.Time) (*tree.Tree, error) {
	ordered := slices.Clone(packages)
	slices.SortStableFunc(ordered, func(a, b *deb.Package) int {
		if (a.Name == "base-files") != (b.Name == "base-files") {
			if a.Name == "base-files" {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	t := tree.New()
	for i, p := range ordered {
		if i > 0 && ordered[i-1].Name == p.Name {
			return nil, fmt.Errorf("package %s is there twice: %s and %s", p.Name, ordered[i-1].Version, p.Version)
		}
		for _, n := range p.Nodes {
			if err := mergeNode(t, n, epoch); err != nil {
				return nil, fmt.Errorf("package %s: %w", p.Name, err)
			}
		}
	}
	return t, nil
}

// mergeNode adds a package's node at its real path. A directory whose path is already a
// link to a directory, such as /lib, is that directory.
func mergeNode(t *tree.Tree, n *tree.Node, epoch time.Time) error {
	real, err := t.RealPath(n.Path)
	if err != nil {
		return err
	}
	if have := t.Get(real); have != nil && n.Mode.IsDir() && have.Mode&fs.ModeSymlink != 0 {
		target, err := t.Resolve(real)
		if err != nil || !target.Mode.IsDir() {
			return &tree.ConflictError{Have: have, New: n}
		}
		return nil
	}
	c := n
	if real != n.Path || n.IsHardLink() {
		c = n.Clone()
		c.Path = real
	}
	if c.IsHardLink() {
		if c.Link, err = t.RealPath(n.Link); err != nil {
			return err
		}
	}
	if real == "." {
		return t.Put(c)
	}
	if err := t.MkdirAll(parent(real), epoch, n.Source); err != nil {
		return err
	}
	return t.Add(c)
}

func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return "."
}

// layOverlays adds the overlays' files, which may replace those of packages. Two overlays
// with different files at one path are an error.
func layOverlays(s *state, overlays []*overlay.Overlay) error {
	from := map[string]*tree.Node{}
	for _, o := range overlays {
		for n := range o.Files.Walk() {
			if n.Path == "." {
				continue
			}
			real, err := s.real(n.Path)
			if err != nil {
				return fmt.Errorf("overlay %s: %w", o.Name, err)
			}
			if have := s.tree.Get(real); n.Mode.IsDir() && have != nil && leadsToDir(s.tree, have) {
				if !slices.Contains(o.Dirs, n.Path) {
					continue // a parent directory of a file, not one that the overlay declares
				}
				if end, err := s.tree.Resolve(real); err == nil {
					real = end.Path // as in mergeNode: /lib is /usr/lib
				}
			}
			if err := s.layNode(n, real, from[real]); err != nil {
				return fmt.Errorf("overlay %s: %w", o.Name, err)
			}
			from[real] = n
		}
	}
	return nil
}

// layNode adds one node at its real path, over that of a package. before is the node that
// an earlier overlay put there, or nil.
func (s *state) layNode(n *tree.Node, real string, before *tree.Node) error {
	if before != nil && !n.Mode.IsDir() && !same(before, n) {
		return &tree.ConflictError{Have: before, New: n}
	}
	c := n.Clone()
	c.Path = real
	if n.IsHardLink() {
		return errors.New("hard links are not supported: /" + n.Path)
	}
	if c.ModTime.IsZero() {
		c.ModTime = s.epoch
	}
	if err := s.tree.MkdirAll(parent(real), s.epoch, n.Source); err != nil {
		return err
	}
	return s.tree.Replace(c)
}

func leadsToDir(t *tree.Tree, n *tree.Node) bool {
	real, err := t.Resolve(n.Path)
	return err == nil && real.Mode.IsDir()
}

func same(a, b *tree.Node) bool {
	if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Link != b.Link {
		return false
	}
	return a.Content == nil && b.Content == nil ||
		a.Content != nil && b.Content != nil && a.Content.SHA256() == b.Content.SHA256()
}

// layFiles adds single files. It is an error if a path is already taken.
func layFiles(s *state, files []*tree.Node) error {
	for _, n := range files {
		real, err := s.real(n.Path)
		if err != nil {
			return err
		}
		c := n.Clone()
		c.Path, c.ModTime = real, s.epoch
		if err := s.tree.MkdirAll(parent(real), s.epoch, n.Source); err != nil {
			return err
		}
		if err := s.tree.Add(c); err != nil {
			return err
		}
	}
	return nil
}

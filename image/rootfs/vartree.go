package rootfs

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
	"github.com/going-mobile/imagebuilder/image/tree"
)

const (
	skeletonFile = "usr/lib/tmpfiles.d/00-var-skeleton.conf"
	factory      = "usr/share/factory" // the directory that tmpfiles.d(5) copies from
)

// homes moves /root and /home to /var, which is writable, and leaves links at the old
// paths.
func homes(s *state) error {
	moves := []struct {
		from, to string
		perm     fs.FileMode
	}{{"root", "var/roothome", 0o700}, {"home", "var/home", 0o755}}
	for _, m := range moves {
		if err := firstError(s.dir(m.to, m.perm, 0, 0), s.copyBelow(m.from, m.to)); err != nil {
			return err
		}
	}
	s.remove("root", "home")
	for _, m := range moves {
		if err := s.link(m.from, m.to); err != nil {
			return err
		}
	}
	return s.homeTmpfiles()
}

// homeTmpfiles overrides systemd's lines that would make /home and /root as directories:
// they are links now. The skeleton makes the directories in /var.
func (s *state) homeTmpfiles() error {
	if err := s.defaultFile("etc/tmpfiles.d/home.conf", 0o644, "# /home and /root are links to /var/home and /var/roothome.\nq /srv 0755 - - -\n"); err != nil {
		return err
	}
	const own = "etc/tmpfiles.d/provision.conf" // brought by an overlay, or made here
	from := "usr/lib/tmpfiles.d/provision.conf"
	if s.exists(own) {
		from = own
	}
	provision, err := s.text(from)
	if err != nil || provision == "" {
		return err
	}
	return s.file(own, 0o644, strings.ReplaceAll(provision, " /root", " /var/roothome"))
}

// copyBelow copies everything below the directory from into the directory to.
func (s *state) copyBelow(from, to string) error {
	if n := s.tree.Get(from); n != nil && !n.Mode.IsDir() {
		return fmt.Errorf("/%s from %s is not a directory", from, n.Source)
	}
	for _, n := range s.below(from) {
		c := n.Clone()
		c.Path = to + strings.TrimPrefix(n.Path, from)
		if c.IsHardLink() && strings.HasPrefix(n.Link, from+"/") {
			c.Link = to + strings.TrimPrefix(n.Link, from)
		}
		if err := s.tree.Add(c); err != nil {
			return err
		}
	}
	return nil
}

// varSkeleton turns what the packages and overlays have below /var into tmpfiles.d lines
// and ships /var empty, since the data partition is mounted there. Files with content are
// copied from the factory directory if they are missing on the node.
func varSkeleton(s *state) error {
	if err := s.dropRivals(); err != nil {
		return err
	}
	known, err := s.tmpfilePaths()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# The directories of /var that packages ship. /var itself is on the data\n# partition and outlives the image.\n")
	for _, n := range s.below("var") {
		if known[n.Path] {
			continue
		}
		line, err := s.skeletonLine(n)
		if err != nil {
			return err
		}
		b.WriteString(line)
	}
	s.remove("var")
	return firstError(s.dir("var", 0o755, 0, 0), s.file(skeletonFile, 0o644, b.String()))
}

// dropRivals removes tmpfiles.d lines for a path that is a file with content in the root,
// or an overlay's file or link. systemd-tmpfiles uses only one line per path, and with the
// other line the file would be empty.
func (s *state) dropRivals() error {
	ours := map[string]bool{}
	for _, n := range s.below("var") {
		hasContent := n.Size() > 0 || n.IsHardLink()
		ours[n.Path] = hasContent || !n.Mode.IsDir() && ofOverlay(n)
	}
	files, err := confdir.Read(s.tree, "tmpfiles.d", ".conf")
	if err != nil {
		return err
	}
	for _, f := range files {
		kept, err := withoutRivals(f, ours)
		if err != nil {
			return err
		}
		if kept == f.Text {
			continue
		}
		if err := s.file(path.Join("etc/tmpfiles.d", path.Base(f.Path)), 0o644, kept); err != nil {
			return err
		}
	}
	return nil
}

func withoutRivals(f confdir.File, ours map[string]bool) (string, error) {
	var kept strings.Builder
	for line := range strings.Lines(f.Text) {
		for _, setting := range confdir.Lines(line) {
			t, err := parseTmpfile(setting, f.Path)
			if err != nil {
				return "", err
			}
			if t.creates() && ours[t.path] {
				line = ""
			}
		}
		kept.WriteString(line)
	}
	return kept.String(), nil
}

// tmpfilePaths returns the paths that other tmpfiles.d files make. A second line for one of
// them would be reported as a duplicate at every boot. Lines with "^" do not count: most
// nodes do not have the credential that fills the file.
func (s *state) tmpfilePaths() (map[string]bool, error) {
	lines, err := s.tmpfileLines()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, t := range lines {
		if t.creates() && !strings.Contains(t.flags, "^") {
			known[t.path] = true
		}
	}
	return known, nil
}

func (s *state) skeletonLine(n *tree.Node) (string, error) {
	p := escapeTmpfile("/" + n.Path)
	owner := fmt.Sprintf("%04o %s %s", unixPerm(n.Mode), s.accounts.UserName(n.UID), s.accounts.GroupName(n.GID))
	switch {
	case n.Mode.IsDir():
		return fmt.Sprintf("d %s %s -\n", p, owner), nil
	case n.Mode&fs.ModeSymlink != 0:
		return fmt.Sprintf("L %s - - - - %s\n", p, strings.ReplaceAll(n.Link, "%", "%%")), nil
	case n.Mode.IsRegular() && n.Size() == 0 && !n.IsHardLink():
		return fmt.Sprintf("f %s %s -\n", p, owner), nil
	case n.Mode.IsRegular():
		return fmt.Sprintf("C %s %s -\n", p, owner), s.toFactory(n)
	}
	return "", fmt.Errorf("/%s from %s: a %v cannot be made at boot", n.Path, n.Source, n.Mode.Type())
}

// toFactory keeps the content and the Source of a file of /var in the factory directory,
// for nodes that lack the file.
func (s *state) toFactory(n *tree.Node) error {
	content := n.Content
	if n.IsHardLink() {
		content = s.tree.Get(n.Link).Content
	}
	return s.put(path.Join(factory, n.Path), tree.Node{Mode: n.Mode, UID: n.UID, GID: n.GID, ModTime: n.ModTime, Content: content, Source: n.Source})
}

// escapeTmpfile quotes a path for the second field of tmpfiles.d(5).
func escapeTmpfile(p string) string {
	p = strings.ReplaceAll(p, "%", "%%")
	if strings.ContainsAny(p, " \t\\\"'") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p) + `"`
	}
	return p
}

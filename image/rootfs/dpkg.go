package rootfs

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/deb822"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// dpkgDatabase writes the database that dpkg-query(1) and vulnerability scanners read. It
// contains no maintainer scripts: nothing is ever installed into or removed from a
// read-only root.
func dpkgDatabase(s *state) error {
	var status strings.Builder
	for _, p := range s.sortedPackages() {
		paragraph, err := s.statusParagraph(p)
		if err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
		status.WriteString(paragraph)
		if err := s.dpkgInfo(p); err != nil {
			return err
		}
	}
	err := firstError(
		s.file(contract.DpkgDir+"/status", 0o644, status.String()),
		s.file(contract.DpkgDir+"/available", 0o644, ""),
		s.file(contract.DpkgDir+"/diversions", 0o644, ""),
		s.file(contract.DpkgDir+"/statoverride", 0o644, s.statOverrideFile()),
		s.file(contract.DpkgDir+"/arch-native", 0o644, s.arch+"\n"),
		s.file(contract.DpkgDir+"/info/format", 0o644, "1\n"),
		s.defaultDir(contract.DpkgDir+"/updates", 0o755), // dpkg-query expects it
		s.defaultDir(contract.DpkgDir+"/triggers", 0o755),
	)
	if err != nil {
		return err
	}
	for _, name := range s.alternativeNames() {
		if err := s.file(path.Join(contract.DpkgDir, "alternatives", name), 0o644, s.alternativeRecord(name)); err != nil {
			return err
		}
	}
	s.tree.Remove("var/lib/dpkg")
	return s.file("usr/lib/tmpfiles.d/imagebuilder-dpkg.conf", 0o644,
		"# The database describes the image and comes with it.\nL+ /var/lib/dpkg - - - - ../../"+contract.DpkgDir+"\n")
}

func (s *state) sortedPackages() []*deb.Package {
	packages := make([]*deb.Package, 0, len(s.packages))
	for _, p := range s.packages {
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b *deb.Package) int { return strings.Compare(a.Name, b.Name) })
	return packages
}

// statusParagraph is the control paragraph with the fields that dpkg adds: Status after the
// package's name, and Conffiles before the description.
func (s *state) statusParagraph(p *deb.Package) (string, error) {
	head, tail, found := strings.Cut("\n"+strings.TrimSpace(p.Control)+"\n", "\nDescription:")
	if found {
		tail = "Description:" + tail
	}
	head = strings.TrimPrefix(strings.TrimSuffix(head, "\n"), "\n")
	first, rest, ok := strings.Cut(head, "\n")
	if !ok || !strings.HasPrefix(first, "Package:") {
		// dpkg does not care about the order of fields; the insertion below does.
		first, rest = "Package: "+p.Name, dropField(head, "Package")
	}
	conffiles, err := conffileHashes(p)
	if err != nil {
		return "", err
	}
	return first + "\nStatus: install ok installed\n" + rest + "\n" + conffiles + tail + "\n", nil
}

// dropField removes a field of one line from a paragraph.
func dropField(paragraph, field string) string {
	var keep []string
	for line := range strings.SplitSeq(paragraph, "\n") {
		if !strings.HasPrefix(line, field+":") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "\n")
}

// conffileHashes is the Conffiles field, with the MD5 of each file as the package ships it.
// A remove-on-upgrade conffile is not shipped and has the flags that dpkg writes instead.
func conffileHashes(p *deb.Package) (string, error) {
	text := ""
	shipped := map[string]*tree.Node{}
	for _, n := range p.Nodes {
		shipped[n.Path] = n
	}
	for line := range strings.Lines(p.ControlFiles["conffiles"]) {
		line = strings.TrimSpace(line)
		if gone, ok := strings.CutPrefix(line, "remove-on-upgrade "); ok {
			text += " " + gone + " newconffile remove-on-upgrade\n"
			continue
		}
		c, ok := strings.CutPrefix(line, "/")
		if !ok {
			continue
		}
		n := shipped[c]
		if n != nil && n.IsHardLink() {
			n = shipped[n.Link]
		}
		if n == nil || n.Content == nil {
			return "", fmt.Errorf("its conffile /%s is not in the package", c)
		}
		sum, err := md5Of(n.Content)
		if err != nil {
			return "", err
		}
		text += " /" + c + " " + sum + "\n"
	}
	if text == "" {
		return "", nil
	}
	return "Conffiles:\n" + text, nil
}

func md5Of(c tree.Content) (string, error) {
	r, err := c.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := md5.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// dpkgInfo writes the list of a package's files, their hashes and its conffiles. The names
// of these files include the architecture for a package with Multi-Arch: same, which may be
// installed for several architectures.
func (s *state) dpkgInfo(p *deb.Package) error {
	name := path.Join(contract.DpkgDir, "info", p.Name)
	if deb822.Field(p.Control, "Multi-Arch") == "same" {
		name += ":" + p.Architecture
	}
	var list strings.Builder
	for _, n := range p.Nodes {
		list.WriteString("/" + strings.TrimPrefix(n.Path, ".") + "\n")
	}
	text := strings.Replace(list.String(), "/\n", "/.\n", 1)
	if err := s.file(name+".list", 0o644, text); err != nil {
		return err
	}
	for _, kind := range []string{"md5sums", "conffiles"} {
		if text, ok := p.ControlFiles[kind]; ok {
			if err := s.file(name+"."+kind, 0o644, text); err != nil {
				return err
			}
		}
	}
	return nil
}

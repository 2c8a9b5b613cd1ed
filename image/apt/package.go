package apt

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"

	"github.com/going-mobile/imagebuilder/firstboot/deb822"
)

// parsePackage reads one stanza of a Packages index.
func parsePackage(stanza string, arch *dependency.Arch) (*Package, error) {
	f, err := deb822.Parse(stanza)
	if err != nil {
		return nil, err
	}
	p := &Package{
		Name:         f["package"],
		Version:      f["version"],
		Architecture: f["architecture"],
		Priority:     f["priority"],
		Filename:     f["filename"],
		SHA256:       f["sha256"],
		MultiArch:    f["multi-arch"],
		Essential:    f["essential"] == "yes",
	}
	if p.Size, err = strconv.ParseInt(f["size"], 10, 64); err != nil || p.Size <= 0 {
		return nil, fmt.Errorf("package %s: size %q is not a positive number", p.Name, f["size"])
	}
	if err = p.check(); err == nil {
		err = p.relations(f, arch)
	}
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	return p, nil
}

func (p *Package) check() error {
	if !validName(p.Name) {
		return fmt.Errorf("%q is not a package name", p.Name)
	}
	if _, err := version.Parse(p.Version); err != nil {
		return fmt.Errorf("version %q: %w", p.Version, err)
	}
	if p.Architecture == "" || p.Filename == "" || len(p.SHA256) != 64 {
		return fmt.Errorf("field Architecture, Filename or SHA256 is missing or malformed")
	}
	if p.Filename != path.Clean(p.Filename) || path.IsAbs(p.Filename) || strings.HasPrefix(p.Filename, "../") {
		return fmt.Errorf("file name %q leaves the archive", p.Filename)
	}
	return nil
}

func (p *Package) relations(f deb822.Paragraph, arch *dependency.Arch) error {
	for name, to := range map[string]*[]Dependency{
		"pre-depends": &p.PreDepends, "depends": &p.Depends,
	} {
		var err error
		if *to, err = parseDependencies(f[name], arch); err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
	}
	for name, to := range map[string]*[]Relation{
		"conflicts": &p.Conflicts, "breaks": &p.Breaks, "provides": &p.Provides,
	} {
		var err error
		if *to, err = parseRelations(f[name], arch); err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
	}
	foreign := func(r Relation) bool {
		return r.Arch != "" && r.Arch != "any" && r.Arch != "native" && r.Arch != arch.String()
	}
	// For example, libc6-i386 is for amd64 and conflicts with libc6-x32:i386. Such a
	// package is never in an image, where all packages have one architecture.
	p.Conflicts = slices.DeleteFunc(p.Conflicts, foreign)
	p.Breaks = slices.DeleteFunc(p.Breaks, foreign)
	return nil
}

// keptField reports whether parsePackage uses the field, so that the index must keep it.
func keptField(name []byte) bool {
	switch string(name) {
	case "package", "version", "architecture", "priority", "filename", "size", "sha256",
		"essential", "multi-arch", "pre-depends", "depends", "conflicts", "breaks", "provides":
		return true
	}
	return false
}

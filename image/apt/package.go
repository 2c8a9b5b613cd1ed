package apt

import (
	"fmt"
	"path"
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
		Section:      f["section"],
		Priority:     f["priority"],
		Filename:     f["filename"],
		SHA256:       f["sha256"],
		MultiArch:    f["multi-arch"],
		Essential:    f["essential"] == "yes",
	}
	p.Description, _, _ = strings.Cut(f["description"], "\n")
	p.Source, p.SourceVersion = deb822.Source(f["source"], p.Name, p.Version)
	for _, step := range []func(deb822.Paragraph, *dependency.Arch) error{p.check, p.sizes, p.relations} {
		if err := step(f, arch); err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	return p, nil
}

func (p *Package) check(deb822.Paragraph, *dependency.Arch) error {
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

func (p *Package) sizes(f deb822.Paragraph, _ *dependency.Arch) error {
	var err error
	if p.Size, err = strconv.ParseInt(f["size"], 10, 64); err != nil || p.Size <= 0 {
		return fmt.Errorf("size %q is not a positive number", f["size"])
	}
	if s := f["installed-size"]; s != "" {
		kib, err := strconv.ParseInt(s, 10, 50)
		if err != nil || kib < 0 {
			return fmt.Errorf("installed size %q is not a number", s)
		}
		p.InstalledSize = kib << 10
	}
	return nil
}

func (p *Package) relations(f deb822.Paragraph, arch *dependency.Arch) error {
	for name, to := range map[string]*[]Dependency{
		"pre-depends": &p.PreDepends, "depends": &p.Depends, "recommends": &p.Recommends,
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
	return nil
}

// keptField tells which fields of an index parsePackage reads.
func keptField(name []byte) bool {
	switch string(name) {
	case "package", "version", "architecture", "source", "section", "priority",
		"description", "filename", "size", "sha256", "installed-size",
		"essential", "multi-arch", "pre-depends", "depends", "recommends",
		"conflicts", "breaks", "provides":
		return true
	}
	return false
}

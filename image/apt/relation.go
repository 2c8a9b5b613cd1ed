package apt

import (
	"fmt"
	"strings"

	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"
)

// String is the relation as a control file writes it.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	return s
}

// String joins the alternatives as a control file does.
func (d Dependency) String() string {
	alts := make([]string, len(d))
	for i, r := range d {
		alts[i] = r.String()
	}
	return strings.Join(alts, " | ")
}

// CompareVersions orders two Debian versions as dpkg does: negative when a is
// the older one.
func CompareVersions(a, b string) (int, error) {
	va, err := version.Parse(a)
	if err != nil {
		return 0, fmt.Errorf("version %q: %w", a, err)
	}
	vb, err := version.Parse(b)
	if err != nil {
		return 0, fmt.Errorf("version %q: %w", b, err)
	}
	return version.Compare(va, vb), nil
}

// admits tells whether version v satisfies the relation. A version that cannot be parsed
// satisfies nothing; the versions in indexes are checked when they are read.
func (r Relation) admits(v string) bool {
	if r.Op == "" {
		return true
	}
	c, err := CompareVersions(v, r.Version)
	if err != nil {
		return false
	}
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return false
}

// parseDependencies reads a dependency field. Alternatives that are limited to other
// architectures or to a build profile are left out, and so is a dependency of which no
// alternative remains.
func parseDependencies(field string, arch *dependency.Arch) ([]Dependency, error) {
	if strings.TrimSpace(field) == "" {
		return nil, nil
	}
	if strings.ContainsRune(field, 0) { // the parser would take NUL for the end of the field
		return nil, fmt.Errorf("%q holds a NUL byte", shorten(field))
	}
	parsed, err := dependency.Parse(field)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", shorten(field), err)
	}
	deps := make([]Dependency, 0, len(parsed.Relations))
	for _, rel := range parsed.Relations {
		d, err := alternatives(rel.Possibilities, arch)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", shorten(field), err)
		}
		if len(d) > 0 {
			deps = append(deps, d)
		}
	}
	return deps, nil
}

func alternatives(ps []dependency.Possibility, arch *dependency.Arch) (Dependency, error) {
	var d Dependency
	for _, p := range ps {
		if p.Substvar {
			return nil, fmt.Errorf("unexpanded ${%s}", p.Name)
		}
		if len(p.StageSets) > 0 || !p.Architectures.Matches(arch) {
			continue
		}
		r, err := relation(p)
		if err != nil {
			return nil, err
		}
		d = append(d, r)
	}
	return d, nil
}

func relation(p dependency.Possibility) (Relation, error) {
	r := Relation{Name: p.Name}
	if !validName(p.Name) {
		return r, fmt.Errorf("%q is not a package name", p.Name)
	}
	if p.Arch != nil {
		if strings.Contains(p.Arch.CPU, "-") { // p.Arch.String would panic
			return r, fmt.Errorf("%q is not the name of a processor", shorten(p.Arch.CPU))
		}
		if r.Arch = p.Arch.String(); !validName(r.Arch) {
			return r, fmt.Errorf("%q is not an architecture", r.Arch)
		}
	}
	if p.Version != nil {
		r.Op, r.Version = p.Version.Operator, strings.TrimSpace(p.Version.Number)
		if _, err := version.Parse(r.Version); err != nil {
			return r, fmt.Errorf("version %q: %w", r.Version, err)
		}
	}
	return r, nil
}

// parseRelations reads a field without alternatives: Provides, Conflicts,
// Breaks.
func parseRelations(field string, arch *dependency.Arch) ([]Relation, error) {
	deps, err := parseDependencies(field, arch)
	if err != nil {
		return nil, err
	}
	var rels []Relation
	for _, d := range deps {
		if len(d) != 1 {
			return nil, fmt.Errorf("%q: alternatives are not allowed here", d)
		}
		rels = append(rels, d[0])
	}
	return rels, nil
}

// validName follows deb-control(5), but also accepts upper case, underscores and a single
// letter, which occur in old archives and those of third parties.
func validName(s string) bool {
	for i, r := range s {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("+-._", r)) {
			return false
		}
	}
	return s != ""
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}

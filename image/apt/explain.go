package apt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// resolveError says why no set of packages satisfies the dependencies. Each reason names
// the whole chain of packages that led to it.
type resolveError struct{ Reasons []string }

func (e *resolveError) Error() string { return strings.Join(e.Reasons, "\n") }

// title names a chosen package and who wanted it:
// "libc6 2.41-12 (wanted by systemd → libsystemd0)".
func (c *choice) title() string {
	s := c.pkg.Name + " " + c.pkg.Version
	var chain []string
	for up := c.via.from; up != nil; up = up.via.from {
		chain = append(chain, up.pkg.Name)
	}
	switch {
	case chain != nil:
		slices.Reverse(chain)
		return s + " (wanted by " + strings.Join(chain, " → ") + ")"
	case c.via.essential:
		return s + " (essential)"
	}
	return s + " (requested)"
}

// describe describes the conflict between the chosen package and another.
func (o *obstacle) describe(other *choice) string {
	from, to := o.chosen, other
	if o.byNew {
		from, to = other, o.chosen
	}
	return fmt.Sprintf("%s cannot be together with %s: %s has %s: %s",
		from.title(), to.title(), from.pkg.Name, o.field, o.rel)
}

// explain returns an error that says why a clause cannot be satisfied.
func (u *universe) explain(s *state, cl clause) error {
	var why []string
	for _, r := range cl.dep {
		w, err := u.explainRelation(s, cl, r)
		if err != nil {
			return err
		}
		why = append(why, w)
	}
	if cl.from == nil {
		return &resolveError{Reasons: why}
	}
	if len(why) == 1 {
		return &resolveError{Reasons: []string{fmt.Sprintf("%s needs %s", cl.from.title(), why[0])}}
	}
	return &resolveError{Reasons: []string{
		fmt.Sprintf("%s needs %s:\n  %s", cl.from.title(), cl.dep, strings.Join(why, "\n  ")),
	}}
}

// explainRelation says why one alternative cannot be taken, beginning with its name.
func (u *universe) explainRelation(s *state, cl clause, r Relation) (string, error) {
	options, err := u.options(r)
	if err != nil {
		return "", err
	}
	for _, p := range options {
		if o := s.obstacle(p); o != nil {
			return fmt.Sprintf("%s, but %s", r, o.describe(&choice{pkg: p, via: cl})), nil
		}
	}
	versions, err := u.a.Versions(r.Name)
	if err != nil {
		return "", err
	}
	providers, err := u.providers(r.Name)
	if err != nil {
		return "", err
	}
	p, err := u.candidate(r.Name)
	if err != nil {
		return "", err
	}
	switch {
	case p != nil && !u.qualifies(r, p):
		return fmt.Sprintf("%s, but %s %s is not for that architecture (Multi-Arch: %s)", r, p.Name, p.Version, orNo(p.MultiArch)), nil
	case p != nil && u.pins[r.Name].pinned():
		return fmt.Sprintf("%s, but it is pinned by %s", r, u.pins[r.Name]), nil
	case len(versions) > 0:
		more, err := u.a.elsewhere(r)
		return fmt.Sprintf("%s, which only exists as %s%s", r, listVersions(versions), more), err
	case len(providers) > 0:
		return fmt.Sprintf("%s, which is only provided without a fitting version by %s", r, listNames(providers)), nil
	}
	return fmt.Sprintf("%s, which does not exist in %s", r, u.a.where()), nil
}

// explainWish says why a package that the caller asked for does not exist.
func (u *universe) explainWish(w wish) (string, error) {
	versions, err := u.a.Versions(w.name)
	if err != nil {
		return "", err
	}
	providers, err := u.providers(w.name)
	if err != nil {
		return "", err
	}
	switch {
	case len(versions) > 0 && w.pinned():
		return fmt.Sprintf("%s: %s only exists as %s", w, w.name, listVersions(versions)), nil
	case len(versions) > 0:
		return fmt.Sprintf("%s is pinned by %s, but only exists as %s", w, u.pins[w.name], listVersions(versions)), nil
	case len(providers) == 1:
		return fmt.Sprintf("%s is a virtual package; write %s, which provides it", w.name, providers[0].Name), nil
	case len(providers) > 0:
		return fmt.Sprintf("%s is a virtual package; name one of %s", w.name, listNames(providers)), nil
	}
	s := fmt.Sprintf("package %s not found in %s", w, u.a.where())
	if near := u.a.similar(w.name); len(near) > 0 {
		s += "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return s, nil
}

// elsewhere points out a version that satisfies r in a suite whose Only does not name the
// package. It returns "" if there is none.
func (a *Archive) elsewhere(r Relation) (string, error) {
	all, err := a.versions(r.Name, func(p *part) bool { return !p.offers(r.Name) })
	for _, p := range all {
		if r.admits(p.Version) {
			return fmt.Sprintf("; %s has %s: name it there in suites:", p.Suite, p.Version), err
		}
	}
	return "", err
}

func orNo(s string) string {
	if s == "" {
		return "no"
	}
	return s
}

func listVersions(versions []*Package) string {
	var out []string
	for _, p := range versions {
		out = append(out, fmt.Sprintf("%s in %s/%s", p.Version, p.Suite, p.Component))
	}
	return strings.Join(out, ", ")
}

func listNames(ps []*Package) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	if len(out) > 8 {
		out = append(out[:8], "…")
	}
	return strings.Join(out, ", ")
}

// similar returns up to three known names of which name may be a misspelling.
func (a *Archive) similar(name string) []string {
	var known []string
	for _, p := range a.parts {
		for rec := range slices.Chunk(p.index.packages, packageSize) {
			known = append(known, string(p.index.name(rec)))
		}
	}
	return nearest.Names(name, known, 3)
}

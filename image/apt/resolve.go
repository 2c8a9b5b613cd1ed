package apt

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Resolve returns a set of packages that contains all of want and everything they depend
// on, without a conflict, sorted by name. The set is the smallest that the search finds.
//
// An entry of want is NAME, NAME=VERSION or NAME/SUITE. A suffix :ARCH is allowed if it is
// the archive's architecture. A virtual package is refused: a lock lists real packages, so
// it could not show that it contains the virtual one.
//
// Essential packages are included and Recommends are not, as with apt-get
// --no-install-recommends. cut lists dependencies that are ignored; its keys are package
// names or path.Match patterns of them.
//
// Of every package, the highest version of all suites it may come from is taken, unless
// want pins another. If only a suite with Suite.Only has a package and Only does not name
// it, an entry of want with just its NAME is refused. The result depends only on the
// indexes and the arguments.
func (a *Archive) Resolve(want []string, cut map[string][]string) ([]*Package, error) {
	u, err := newUniverse(a, want, cut)
	if err != nil {
		return nil, err
	}
	roots, err := u.roots(want)
	if err != nil {
		return nil, err
	}
	s, err := u.solve(roots)
	if err != nil {
		return nil, err
	}
	out := make([]*Package, 0, len(s.chosen))
	for _, c := range s.chosen {
		out = append(out, c.pkg)
	}
	slices.SortFunc(out, func(x, y *Package) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}

// universe is the set of packages to choose from: at most one version of each name.
type universe struct {
	a          *Archive
	cut        map[string][]string
	pins       map[string]wish
	candidates map[string]*Package
	offers     map[string][]*Package
	steps      int
}

// wish is a parsed entry of want.
type wish struct{ name, version, suite string }

func (w wish) String() string {
	switch {
	case w.version != "":
		return w.name + "=" + w.version
	case w.suite != "":
		return w.name + "/" + w.suite
	}
	return w.name
}

func (w wish) pinned() bool { return w.version != "" || w.suite != "" }

func (w wish) admits(p *Package) bool {
	return (w.version == "" || w.version == p.Version) && (w.suite == "" || w.suite == p.Suite)
}

// Granted looks for an entry of Resolve's want among packages that were resolved before.
// have is the package of that name, or nil; ok tells whether its version and suite satisfy
// want.
func Granted(want, arch string, pkgs []*Package) (have *Package, ok bool, err error) {
	w, err := parseWish(want, arch)
	if err != nil {
		return nil, false, err
	}
	i := slices.IndexFunc(pkgs, func(p *Package) bool { return p.Name == w.name })
	if i < 0 {
		return nil, false, nil
	}
	return pkgs[i], w.admits(pkgs[i]), nil
}

func parseWish(s, arch string) (wish, error) {
	w := wish{name: s}
	if name, v, ok := strings.Cut(s, "="); ok {
		w = wish{name: name, version: v}
		if _, err := CompareVersions(v, v); err != nil {
			return w, fmt.Errorf("%s: %w", s, err)
		}
	} else if name, suite, ok := strings.Cut(s, "/"); ok {
		w = wish{name: name, suite: suite}
		if suite == "" {
			return w, fmt.Errorf("%s: no suite after the slash", s)
		}
	}
	if name, q, ok := strings.Cut(w.name, ":"); ok {
		if q != arch && q != "all" && q != "any" {
			return w, fmt.Errorf("%s: this archive is for %s", s, arch)
		}
		w.name = name
	}
	if !validName(w.name) {
		return w, fmt.Errorf("%q is not a package name; write NAME, NAME=VERSION or NAME/SUITE", s)
	}
	return w, nil
}

func newUniverse(a *Archive, want []string, cut map[string][]string) (*universe, error) {
	u := &universe{
		a: a, cut: cut, pins: map[string]wish{},
		candidates: map[string]*Package{}, offers: map[string][]*Package{},
	}
	for pattern := range cut {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("cut %q: %w", pattern, err)
		}
	}
	for _, s := range want {
		if err := u.pin(s); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u *universe) pin(s string) error {
	w, err := parseWish(s, u.a.arch)
	if err != nil || !w.pinned() {
		return err
	}
	if old, ok := u.pins[w.name]; ok && old != w {
		return fmt.Errorf("%s and %s: one image has one version of a package", old, w)
	}
	u.pins[w.name] = w
	return nil
}

// candidate returns the version of a package that may be chosen, or nil.
func (u *universe) candidate(name string) (*Package, error) {
	if p, ok := u.candidates[name]; ok {
		return p, nil
	}
	versions, err := u.a.Versions(name)
	if err != nil {
		return nil, err
	}
	var best *Package
	if i := slices.IndexFunc(versions, u.pins[name].admits); i >= 0 {
		best = versions[i]
	}
	u.candidates[name] = best
	return best, nil
}

// options returns the packages that satisfy a relation, the best first: the
// package of that name, then providers.
func (u *universe) options(r Relation) ([]*Package, error) {
	var out []*Package
	p, err := u.candidate(r.Name)
	if err != nil {
		return nil, err
	}
	if p != nil && u.qualifies(r, p) && r.admits(p.Version) {
		out = append(out, p)
	}
	providers, err := u.providers(r.Name)
	if err != nil {
		return nil, err
	}
	for _, p := range providers {
		if p.Name != r.Name && provides(p, r) && u.qualifies(r, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// qualifies checks the architecture qualifier of a relation. All packages here are of one
// architecture or of all, so a name without a qualifier always fits. NAME:any needs a
// package with Multi-Arch: allowed (Multi-Arch specification, "Dependencies involving
// :any").
func (u *universe) qualifies(r Relation, p *Package) bool {
	switch r.Arch {
	case "", "native", u.a.arch:
		return true
	case "any":
		return p.MultiArch == "allowed"
	}
	return false
}

// provides tells whether p provides what r asks for. An unversioned provision
// satisfies no versioned relation (policy, 7.5).
func provides(p *Package, r Relation) bool {
	for _, v := range p.Provides {
		if v.Name != r.Name {
			continue
		}
		if r.Op == "" || v.Op == "=" && r.admits(v.Version) {
			return true
		}
	}
	return false
}

// providers returns the candidates that provide a name, in apt's order of
// preference: essential ones, then by priority; names break ties.
func (u *universe) providers(name string) ([]*Package, error) {
	if out, ok := u.offers[name]; ok {
		return out, nil
	}
	var out []*Package
	for _, n := range u.a.providing(name) {
		p, err := u.candidate(n)
		if err != nil {
			return nil, err
		}
		// Another version may have the Provides than the candidate.
		if p != nil && provides(p, Relation{Name: name}) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(x, y *Package) int { return rank(x) - rank(y) })
	u.offers[name] = out
	return out, nil
}

func rank(p *Package) int {
	if p.Essential {
		return -1
	}
	for i, s := range []string{"required", "important", "standard", "optional"} {
		if p.Priority == s {
			return i
		}
	}
	return 5
}

// roots turns want and the Essential packages into clauses without a parent.
func (u *universe) roots(want []string) ([]clause, error) {
	var roots []clause
	var missing []string
	for _, s := range want {
		w, err := parseWish(s, u.a.arch)
		if err != nil {
			return nil, err
		}
		p, complaint, err := u.wanted(w)
		if err != nil {
			return nil, err
		}
		if complaint != "" {
			missing = append(missing, complaint)
		}
		roots = append(roots, clause{dep: Dependency{{Name: w.name}}, options: []*Package{p}})
	}
	if missing != nil {
		return nil, &resolveError{Reasons: missing}
	}
	for _, name := range u.a.essential() {
		p, err := u.candidate(name)
		if err != nil {
			return nil, err
		}
		if p != nil && p.Essential {
			roots = append(roots, clause{dep: Dependency{{Name: name}}, options: []*Package{p}, essential: true})
		}
	}
	return roots, nil
}

// wanted returns the package that a wish asks for, or a complaint for the user.
func (u *universe) wanted(w wish) (p *Package, complaint string, err error) {
	p, err = u.candidate(w.name)
	if err != nil {
		return nil, "", err
	}
	if p != nil && !u.pins[w.name].pinned() && u.a.forOthers(p) {
		return nil, fmt.Sprintf("%s is in %s alone: name it there in suites:", w, p.Suite), nil
	}
	if p == nil {
		complaint, err = u.explainWish(w)
	}
	return p, complaint, err
}

// clauses returns the dependencies of a chosen package, without those that are cut.
func (u *universe) clauses(c *choice) ([]clause, error) {
	var out []clause
	cut := u.cutFor(c.pkg.Name)
	for _, d := range slices.Concat(c.pkg.PreDepends, c.pkg.Depends) {
		if slices.ContainsFunc(d, func(r Relation) bool { return cut[r.Name] }) {
			continue
		}
		cl, err := u.clause(c, d)
		if err != nil {
			return nil, err
		}
		out = append(out, cl)
	}
	return out, nil
}

func (u *universe) clause(c *choice, d Dependency) (clause, error) {
	cl := clause{from: c, dep: d}
	for _, r := range d {
		options, err := u.options(r)
		if err != nil {
			return cl, err
		}
		for _, p := range options {
			if !slices.Contains(cl.options, p) {
				cl.options = append(cl.options, p)
			}
		}
	}
	return cl, nil
}

// cutFor collects the names that are cut from a package's dependencies.
func (u *universe) cutFor(name string) map[string]bool {
	cut := map[string]bool{}
	for pattern, names := range u.cut {
		if ok, _ := path.Match(pattern, name); ok { // the patterns were checked before
			for _, n := range names {
				cut[n] = true
			}
		}
	}
	return cut
}

package apt

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"pault.ag/go/debian/dependency"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// Archive is the verified indexes of some suites for one architecture. It is
// safe for concurrent use.
type Archive struct {
	arch     string
	target   *dependency.Arch
	releases []Release
	parts    []*part

	mu     sync.Mutex
	parsed map[place]*Package
}

// part is the index of one component of one suite.
type part struct {
	suite, component, arch string
	only                   []string // see Suite.Only
	mirrors                []string
	entry                  *fetch.File // the cache's entry of this index
	file                   *os.File
	index                  *index
}

// offers tells whether packages called name may be taken from this part, by Suite.Only.
func (p *part) offers(name string) bool { return p.only == nil || slices.Contains(p.only, name) }

// place is the position of a package: its part and its record in that part's index.
type place struct{ part, pos int }

func newArchive(arch string) (*Archive, error) {
	if !validName(arch) || arch == "all" || arch == "any" {
		return nil, fmt.Errorf("%q is not an architecture", arch)
	}
	target, err := dependency.ParseArch(arch)
	if err != nil {
		return nil, fmt.Errorf("architecture %q: %w", arch, err)
	}
	return &Archive{arch: arch, target: target, parsed: map[place]*Package{}}, nil
}

// Close closes the index files. Packages that were returned stay valid.
func (a *Archive) Close() error {
	var errs []error
	for _, p := range a.parts {
		if p != nil && p.file != nil {
			errs = append(errs, p.file.Close())
		}
	}
	return errors.Join(errs...)
}

// Releases returns what the signed index of each suite says, in the order given to Load.
func (a *Archive) Releases() []Release { return slices.Clone(a.releases) }

// Versions returns every version of a package that may be taken, the newest first. Equal
// versions are in the order in which the suites were given to Load.
func (a *Archive) Versions(name string) ([]*Package, error) {
	out, err := a.versions(name, func(p *part) bool { return p.offers(name) })
	if err != nil || len(out) > 0 {
		return out, err
	}
	return a.versions(name, func(*part) bool { return true })
}

// versions returns every version of a package in the parts that in selects.
func (a *Archive) versions(name string, in func(*part) bool) ([]*Package, error) {
	var out []*Package
	for i, p := range a.parts {
		if !in(p) {
			continue
		}
		for _, pos := range p.index.named(name) {
			pkg, err := a.at(place{i, pos})
			if err != nil {
				return nil, err
			}
			if pkg.Architecture == a.arch || pkg.Architecture == "all" {
				out = append(out, pkg)
			}
		}
	}
	slices.SortStableFunc(out, func(x, y *Package) int {
		c, _ := CompareVersions(y.Version, x.Version) // the error is impossible: both were checked when parsed
		return c
	})
	return out, nil
}

// providing returns the names of the packages that provide a name, sorted. Of a suite with
// Only, just the named packages count: that suite must not decide how the dependencies of
// other packages are met.
func (a *Archive) providing(name string) []string {
	var out []string
	for _, p := range a.parts {
		for _, pos := range p.index.providers(name) {
			offer := string(p.index.name(p.index.packages[pos*packageSize:]))
			if p.offers(offer) {
				out = append(out, offer)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// essential returns the names of the packages marked Essential, sorted. Suites with Only do
// not count: they may be of another release, with other essential packages.
func (a *Archive) essential() []string {
	var out []string
	for _, p := range a.parts {
		if p.only == nil {
			out = append(out, p.index.essential()...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// at parses the package at a place, at most once.
func (a *Archive) at(at place) (*Package, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if pkg := a.parsed[at]; pkg != nil {
		return pkg, nil
	}
	p := a.parts[at.part]
	stanza, err := p.index.stanza(at.pos)
	if err != nil {
		return nil, p.entry.Damaged(err)
	}
	pkg, err := parsePackage(stanza, a.target)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", p.suite, p.component, err)
	}
	pkg.Suite, pkg.Component, pkg.Mirrors = p.suite, p.component, p.mirrors
	a.parsed[at] = pkg
	return pkg, nil
}

// forOthers reports whether pkg is from a suite whose Only does not name it.
func (a *Archive) forOthers(pkg *Package) bool {
	return slices.ContainsFunc(a.parts, func(p *part) bool {
		return p.suite == pkg.Suite && !p.offers(pkg.Name)
	})
}

// where lists all suites and components that were searched, for errors.
func (a *Archive) where() string {
	var names []string
	for _, p := range a.parts {
		names = append(names, p.suite+"/"+p.component)
	}
	return strings.Join(slices.Compact(names), ", ")
}

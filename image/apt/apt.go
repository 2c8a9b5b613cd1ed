// Package apt reads Debian archives: it fetches and verifies their signed indexes, resolves
// a list of wanted packages with their dependencies, and downloads the packages. It works
// for any architecture on any host, and never looks at what is installed there.
//
// It refuses an index that no known key signed, that is out of date, or that is of another
// suite. It refuses every file whose sha256 the signed index does not list. It does not
// unpack, configure or order packages.
//
// Formats: deb-control(5), deb-version(7), the Debian policy manual chapters 5 and 7, and
// https://wiki.debian.org/DebianRepository/Format.
package apt

import (
	"time"
)

// Suite is one distribution of an archive, such as trixie-security.
type Suite struct {
	Name       string   // the directory below dists
	Mirrors    []string // base URLs, the parents of dists and pool, tried in order
	Components []string // such as main and non-free-firmware
	// Only names the packages that are taken from this suite rather than from the others. A
	// package that Only does not name can come in only as a dependency, and only if no
	// other suite has one of that name. nil offers all packages.
	Only []string
}

// Release is what a suite's verified InRelease said.
type Release struct {
	Suite      string    // as requested
	Date       time.Time // when the archive signed it
	Components []string  // as requested
	SHA256     string    // of the InRelease file
}

// Package is one version of a binary package.
type Package struct {
	Name, Version, Architecture string
	Priority                    string
	Filename                    string // relative to the mirror's base URL
	SHA256                      string
	Size                        int64 // of the .deb, in bytes
	Essential                   bool
	MultiArch                   string // "", same, foreign or allowed
	Suite, Component            string // where it was found
	Mirrors                     []string

	PreDepends, Depends         []Dependency
	Conflicts, Breaks, Provides []Relation
}

// Dependency is satisfied by any of its alternatives.
type Dependency []Relation

// Relation names a package, perhaps only some versions of it.
type Relation struct {
	Name    string
	Arch    string // the qualifier after a colon: "", any, native or an architecture
	Op      string // <<, <=, =, >=, >> or "" for any version
	Version string
}

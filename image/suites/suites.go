// Package suites says which packages come from another suite than a board's
// own: newer firmware, a backported kernel. Such a suite gives the packages
// that are named, and what only it has of the dependencies; everything else stays
// what the board's release and its security updates say, or is refused.
package suites

import (
	"fmt"
	"regexp"
	"slices"
)

// Suite is one entry of suites: in a board or overlay file.
type Suite struct {
	// Name of the suite below dists, such as trixie-backports.
	Name string `yaml:"name" json:"name"`
	// Packages to install from it.
	Packages []string `yaml:"packages" json:"packages"`
}

var (
	namePattern    = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`) // Debian policy 5.6.1
)

// Problem returns the first field of a file's list that is wrong, dotted, and
// what to do about it.
func Problem(list []Suite) (field, problem string) {
	from := map[string]string{}
	for i, s := range list {
		switch {
		case !namePattern.MatchString(s.Name):
			return fmt.Sprintf("%d.name", i), fmt.Sprintf("%q is no suite; write one such as trixie-backports or forky", s.Name)
		case slices.IndexFunc(list, func(o Suite) bool { return o.Name == s.Name }) < i:
			return fmt.Sprintf("%d.name", i), fmt.Sprintf("%s is listed twice", s.Name)
		case len(s.Packages) == 0:
			return fmt.Sprintf("%d.packages", i), "is missing; name the packages that come from " + s.Name
		}
		for j, pkg := range s.Packages {
			field = fmt.Sprintf("%d.packages.%d", i, j)
			if !packagePattern.MatchString(pkg) {
				return field, fmt.Sprintf("%q is not the name of a Debian package", pkg)
			}
			if other := from[pkg]; other != "" {
				return field, fmt.Sprintf("%s comes from %s already; one image has one version of a package", pkg, other)
			}
			from[pkg] = s.Name
		}
	}
	return "", ""
}

// Add joins the suites of who, a board or an overlay, with those of others.
// own are the suites that packages come from anyway.
func Add(to []Suite, who string, more []Suite, own []string) ([]Suite, error) {
	to = slices.Clone(to)
	for _, s := range more {
		if slices.Contains(own, s.Name) {
			return nil, fmt.Errorf("%s: suites: packages come from %s anyway; remove it", who, s.Name)
		}
		for _, pkg := range s.Packages {
			for _, o := range to {
				if o.Name != s.Name && slices.Contains(o.Packages, pkg) {
					return nil, fmt.Errorf("%s: suites: %s from %s, but it comes from %s already; one image has one version of a package", who, pkg, s.Name, o.Name)
				}
			}
		}
		at := slices.IndexFunc(to, func(o Suite) bool { return o.Name == s.Name })
		if at < 0 {
			at = len(to)
			to = append(to, Suite{Name: s.Name})
		}
		names := append(slices.Clone(to[at].Packages), s.Packages...)
		slices.Sort(names)
		to[at].Packages = slices.Compact(names)
	}
	return to, nil
}

package image

import (
	"strings"

	"github.com/going-mobile/imagebuilder/image/deb"
)

// sourceOfDeb returns the source package a binary package was built from. The
// Source field is left out where name and version are the same, and carries a
// version in parentheses where that differs (deb-control(5)).
func sourceOfDeb(pkg *deb.Package) (name, version string) {
	name, version = pkg.Name, pkg.Version
	for line := range strings.Lines(pkg.Control) {
		value, ok := strings.CutPrefix(line, "Source:")
		if !ok {
			continue
		}
		var inParens string
		name, inParens, _ = strings.Cut(strings.TrimSpace(value), " ")
		if v := strings.Trim(inParens, "()"); v != "" {
			version = v
		}
	}
	return name, version
}

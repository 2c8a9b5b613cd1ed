package gate

import (
	"slices"
	"strings"
)

// Models returns all models, sorted by package.
func Models() []*Model {
	var out []*Model
	for _, m := range builtin().models {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Model) int { return strings.Compare(a.Package, b.Package) })
	return out
}

package kmod

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// unknown is the error for a name that nothing has.
func (m *Modules) unknown(name string) error {
	near := m.nearest(normalise(name))
	if len(near) == 0 {
		return fmt.Errorf("no module %q in /%s", name, m.dir)
	}
	return fmt.Errorf("no module %q in /%s: did you mean %s?", name, m.dir, strings.Join(near, ", "))
}

// nearest returns up to three names that differ little from name.
func (m *Modules) nearest(name string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var list []candidate
	consider := func(n string) {
		d := distance(name, n)
		if d <= 1+len(name)/4 || len(name) >= 3 && strings.HasPrefix(n, name) {
			list = append(list, candidate{n, d})
		}
	}
	for n := range m.files {
		consider(n)
	}
	for n := range m.builtin {
		consider(n)
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range list[:min(3, len(list))] {
		names = append(names, c.name)
	}
	return names
}

// distance is Levenshtein's: how many letters to insert, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

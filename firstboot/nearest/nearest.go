// Package nearest guesses which known name a mistyped one was meant to be. It is a leaf.
package nearest

import (
	"cmp"
	"slices"
	"strings"
)

// Name returns the best guess, "" if no name is near.
func Name(word string, known []string) string {
	if names := Names(word, known, 1); len(names) > 0 {
		return names[0]
	}
	return ""
}

// Slip returns the best guess if at most two letters are wrong, in a short word at most one; else
// "". It is stricter than Name, for a word that may well be right.
func Slip(word string, known []string) string {
	name := Name(word, known)
	if distance(strings.ToLower(word), strings.ToLower(name)) > min(2, max(1, len(word)/4)) {
		return ""
	}
	return name
}

// Names returns up to most guesses, the best first: names in which at most a third of the letters
// are wrong, or that begin with word. Case does not matter.
func Names(word string, known []string, most int) []string {
	if len(word) > 64 { // no name is that long, and the cost of the distance is quadratic
		return nil
	}
	type guess struct {
		name     string
		distance int
	}
	var guesses []guess
	word = strings.ToLower(word)
	limit := max(1, len(word)/3)
	for _, name := range known {
		lower := strings.ToLower(name)
		begins := len(word) > 2 && strings.HasPrefix(lower, word)
		if !begins && max(len(lower)-len(word), len(word)-len(lower)) > limit {
			continue
		}
		if d := distance(word, lower); begins || d <= limit {
			guesses = append(guesses, guess{name, d})
		}
	}
	slices.SortFunc(guesses, func(a, b guess) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, g := range slices.Compact(guesses) {
		names = append(names, g.name)
	}
	return names[:min(most, len(names))]
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours between a and b (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

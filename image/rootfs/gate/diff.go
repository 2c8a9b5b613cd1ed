package gate

import (
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// nearestDiff is the difference between body and the recorded text that it
// has most lines in common with.
func nearestDiff(script string, known []string, body string) string {
	best := ""
	for _, text := range known {
		d := string(diff.Diff("modelled "+script, []byte(text+"\n"), "this "+script, []byte(body+"\n")))
		if best == "" || changes(d) < changes(best) {
			best = d
		}
	}
	_, hunks, _ := strings.Cut(best, "\n") // its first line is the command "diff A B"
	return hunks
}

// changes counts the lines of a diff that differ.
func changes(d string) int {
	n := 0
	for line := range strings.Lines(d) {
		if line[0] == '+' || line[0] == '-' {
			n++
		}
	}
	return n
}

// Package words says in the languages of a helper's phone what a node's screen
// says in English.
//
// It is a leaf: texts and the choice between them. It refuses to decide what is
// said; a test of package firstboot holds that every problem has its words here.
package words

import (
	"fmt"
	"strconv"
	"strings"
)

// Language is all words in one language.
type Language struct {
	Tag string // BCP 47
	// States and Steps are headlines and steps by their names in the status.
	States, Steps map[string]string
	Labels        Labels
	// Problems are by their codes. English has none: the status has it.
	Problems map[string]Text
}

// Text is a problem in words. Each %s is an argument of the problem, in order,
// first those of the summary, then those of the remedy.
type Text struct{ Summary, Remedy string }

// Labels are what else stands on the page.
type Labels struct {
	Node, Site, Address, Step, Code, Time, NextTry string
	Problem, Remedy, Notice                        string
	StepOf                                         string // %d of %d: %s
	// Starting is said before anything is known, Quiet when the node does not
	// answer any more, Bye to those who waited for it to join.
	Starting, Quiet, Bye string
	// HandOver heads what is below: Choose a file, or open a link. Sending,
	// Taken, Busy and Lost are what becomes of it.
	HandOver, Choose, Sending, Taken, Busy, Lost string
	About                                        string
}

// Languages are all, the first for those who want none of them.
var Languages = []*Language{&english, &german, &french, &spanish, &portuguese}

// Problem returns a problem in words, or false where the language has none.
func (l *Language) Problem(code string, args []string) (summary, remedy string, ok bool) {
	t, ok := l.Problems[code]
	n, m := strings.Count(t.Summary, "%s"), strings.Count(t.Remedy, "%s")
	if !ok || len(args) < n+m {
		return "", "", false
	}
	all := make([]any, len(args))
	for i, a := range args {
		all[i] = a
	}
	return fmt.Sprintf(t.Summary, all[:n]...), fmt.Sprintf(t.Remedy, all[n:n+m]...), true
}

// Choose returns the language that a browser likes best, by its
// Accept-Language (RFC 9110, 12.5.4). A regional one is as good as any.
func Choose(accept string) *Language {
	best, weight := Languages[0], 0.0
	for want := range strings.SplitSeq(accept, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(want), ";")
		q := 1.0
		if s, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, _ = strconv.ParseFloat(s, 64) // what is none is worth nothing
		}
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		for _, l := range Languages {
			if l.Tag == primary && q > weight {
				best, weight = l, q
			}
		}
	}
	return best
}

// Package words translates what a node's screen says in English into the languages of a helper's
// phone.
//
// It is a leaf: texts, and the choice between them. It does not decide what is said. A test of
// package firstboot makes sure that every problem has its words here.
package words

import (
	"fmt"
	"strconv"
	"strings"
)

// Language holds all texts in one language.
type Language struct {
	Tag string // BCP 47
	// States and Steps are headlines and names of steps, by their names in the status.
	States, Steps map[string]string
	Labels        Labels
	// Problems are texts by the problems' codes. English has none: its texts are in the status.
	Problems map[string]Text
}

// Text is a problem in words. Each %s takes an argument of the problem, in order: first those of
// Summary, then those of Remedy.
type Text struct{ Summary, Remedy string }

// Labels are the other texts of the page.
type Labels struct {
	Node, Site, Address, Step, Code, Time, NextTry string
	Problem, Remedy, Notice                        string
	StepOf                                         string // %d of %d: %s
	// Starting is shown before anything is known, Quiet when the node does not answer any more, Bye
	// when the node has joined.
	Starting, Quiet, Bye string
	// HandOver is the heading of Choose a file, or open a link. Sending, Taken, Busy and Lost are
	// the states of handing over.
	HandOver, Choose, Sending, Taken, Busy, Lost string
	About                                        string
}

// Languages are all languages; the first is for readers who want none of them.
var Languages = []*Language{&english, &german, &french, &spanish, &portuguese}

// Problem returns a problem in words; ok is false if the language has none for it, or args are too
// few.
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

// Choose returns the language that a browser prefers, by its Accept-Language header (RFC 9110,
// 12.5.4). A regional variant is as good as any other.
func Choose(accept string) *Language {
	best, weight := Languages[0], 0.0
	for want := range strings.SplitSeq(accept, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(want), ";")
		q := 1.0
		if s, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, _ = strconv.ParseFloat(s, 64) // a value that is no number counts as 0
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

package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	html "html/template"
	"regexp"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/words"
)

var (
	//go:embed page.html
	markup string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

var template = html.Must(html.New("page").Parse(markup))

// policy allows the page's own style and script by their hashes and requests to this node, and
// nothing else.
var policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	hash(style), hash(script))

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// view is the data of the template.
type view struct {
	*words.Labels
	Tag, State, Headline string
	Name, Site           string
	Step                 string
	Done                 []bool // of all steps
	Problems             []told
	Facts                []fact
	Ended                bool
	Style                html.CSS
	Script               html.JS
}

// told is a problem in words.
type told struct {
	Label           string
	Summary, Remedy html.HTML
	Code            string
}

// typed matches what somebody may have to type; a phone would break it at hyphens.
var typed = regexp.MustCompile(`imagebuilder [a-z]+( --[a-z]+)?|journalctl -u [a-z0-9]+|firstboot retry|node\.yaml`)

// marked returns a text of the page as HTML, with what is to be typed marked as code.
func marked(s string) html.HTML {
	return html.HTML(typed.ReplaceAllString(html.HTMLEscapeString(s), "<code>$0</code>"))
}

type fact struct{ Label, Value string }

func newView(s firstboot.Status, known bool, l *words.Language) view {
	v := view{Labels: &l.Labels, Tag: l.Tag, Name: s.Node, Site: s.Site, Style: html.CSS(style), Script: html.JS(script)}
	if !known {
		v.State, v.Headline = string(firstboot.Working), l.Labels.Starting
		return v
	}
	// A node that is retrying is shown as it is between two tries: otherwise the page would
	// flicker.
	state := s.Lasting().State
	v.State, v.Headline, v.Ended = string(state), l.States[string(state)], state == firstboot.Joined
	v.step(s, l)
	v.problem(l, l.Labels.Problem, s.Problem)
	v.problem(l, l.Labels.Notice, s.Notice)
	v.fact(l.Labels.Address, strings.Join(s.Addresses, ", "))
	if s.NextTry != nil {
		v.fact(l.Labels.NextTry, clock(*s.NextTry))
	}
	v.fact(l.Labels.Time, clock(s.Time))
	return v
}

func (v *view) step(s firstboot.Status, l *words.Language) {
	n, of := s.StepNumber()
	if v.Step = l.Steps[s.Step]; n > 0 {
		v.Step = fmt.Sprintf(l.Labels.StepOf, n, of, v.Step)
		for i := range of {
			v.Done = append(v.Done, i < n-1)
		}
	}
}

func (v *view) problem(l *words.Language, label string, p *firstboot.Problem) {
	if p != nil {
		summary, remedy := say(l, p)
		v.Problems = append(v.Problems, told{label, marked(summary), marked(remedy), p.Code})
	}
}

func (v *view) fact(label, value string) {
	if value != "" {
		v.Facts = append(v.Facts, fact{label, value})
	}
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// Package gate decides whether an image may be built from a set of packages although their
// maintainer scripts are never run. It takes every preinst and postinst apart and compares
// what is left with the scripts whose effects package rootfs and other parts of the build
// reproduce.
//
// It refuses by default. A script passes if nothing of it is left, if debhelper added all
// of it from known templates, or if its text is the one that a model was written for; a
// changed text is refused with the difference. A user can accept a package by name and with
// a reason, which is recorded.
//
// Of the known texts it holds only digests: the scripts belong to their authors and are in
// the packages.
//
// It does not look at prerm and postrm, which never run for an image, nor at config, whose
// questions only the package's own postinst reads.
package gate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/deb"
)

// Report is what the caller of Check should record about packages that passed.
type Report struct {
	// Accepted lists the scripts that no model covers and a user accepted,
	// sorted by package and script.
	Accepted []Accepted
	// Unneeded names packages that a user accepted although none of their scripts needs it,
	// or that are not in the set, sorted.
	Unneeded []string
}

// Accepted is one script whose effects are missing from the image, as the user accepted.
type Accepted struct {
	Package, Version string
	Script           string // "postinst"
	Reason           string // as the user gave it
	Hints            []string
}

// Refusal is one script that no template or model covers.
type Refusal struct {
	Package, Version string
	Script           string   // "postinst", or "triggers"
	Lines            []string // what no template covers, normalised
	Diff             string   // against the script that was modelled, if there is one
	Hints            []string // "adds users (adduser)"
}

// RefusedError holds all refusals of a set, sorted by package and script.
type RefusedError struct{ Refusals []Refusal }

// Check compares the scripts of all packages with the models. accept maps names of packages
// to the reasons why their scripts may be ignored. The error is a *RefusedError if a script
// is refused.
func Check(pkgs []*deb.Package, accept map[string]string) (*Report, error) {
	return builtin().check(pkgs, accept)
}

func (k *knowledge) check(pkgs []*deb.Package, accept map[string]string) (*Report, error) {
	pkgs = slices.Clone(pkgs)
	slices.SortFunc(pkgs, func(a, b *deb.Package) int { return strings.Compare(a.Name, b.Name) })
	report := &Report{}
	var refused []Refusal
	needed := map[string]bool{}
	for _, p := range pkgs {
		found := k.examine(p)
		reason, ok := accept[p.Name]
		if !ok {
			refused = append(refused, found...)
			continue
		}
		for _, r := range found {
			needed[p.Name] = true
			report.Accepted = append(report.Accepted, Accepted{p.Name, p.Version, r.Script, reason, r.Hints})
		}
	}
	for name := range accept {
		if !needed[name] {
			report.Unneeded = append(report.Unneeded, name)
		}
	}
	slices.Sort(report.Unneeded)
	if len(refused) > 0 {
		return nil, &RefusedError{refused}
	}
	return report, nil
}

// examine returns the scripts and triggers of a package that no template and no model
// covers.
func (k *knowledge) examine(p *deb.Package) []Refusal {
	model := k.models[modelName(p.Name)]
	var out []Refusal
	for _, name := range []string{"postinst", "preinst"} {
		text, ok := p.ControlFiles[name]
		if !ok {
			continue
		}
		body := k.residue(p.Name, text)
		if body == "" {
			continue
		}
		var known []recording
		if model != nil {
			known = model.scripts[name]
		}
		if !slices.ContainsFunc(known, func(r recording) bool { return r.is(body) }) {
			out = append(out, refuse(p, name, body, known))
		}
	}
	return append(out, k.untreatedTriggers(p, model)...)
}

// residue is what remains of a script without the blocks that templates cover: the text
// that a model must match. debhelper blocks without a template are at its end, each under
// the name of its tool.
func (k *knowledge) residue(pkg, text string) string {
	s := Parse(text)
	var parts []string
	if s.Body != "" {
		parts = append(parts, s.Body)
	}
	for _, b := range s.Blocks {
		if _, ok := k.recognise(b); !ok {
			parts = append(parts, "# "+b.Tool+"\n"+b.Body)
		}
	}
	return general(pkg, strings.Join(parts, "\n"))
}

func refuse(p *deb.Package, script, body string, known []recording) Refusal {
	r := Refusal{Package: p.Name, Version: p.Version, Script: script, Lines: strings.Split(body, "\n"), Hints: hints(body)}
	if len(known) > 0 {
		r.Diff = nearest(known, body)
	}
	return r
}

// untreatedTriggers finds triggers that would run the package's postinst and that its model
// does not list. If the postinst has no residue, running it does nothing, and no trigger
// matters.
func (k *knowledge) untreatedTriggers(p *deb.Package, model *Model) []Refusal {
	text, ok := p.ControlFiles["postinst"]
	if !ok || k.residue(p.Name, text) == "" {
		return nil
	}
	var lines []string
	for line := range strings.Lines(p.ControlFiles["triggers"]) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "interest") {
			continue
		}
		if model == nil || !slices.Contains(model.Triggers, fields[1]) {
			lines = append(lines, strings.Join(fields, " "))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return []Refusal{{Package: p.Name, Version: p.Version, Script: "triggers", Lines: lines,
		Hints: []string{"works on files of other packages (triggers)"}}}
}

// signs are commands whose effects are easily overlooked in an image.
var signs = []struct {
	pattern *regexp.Regexp
	hint    string
}{
	{regexp.MustCompile(`\b(adduser|addgroup|useradd|groupadd|usermod)\b`), "adds users or groups"},
	{regexp.MustCompile(`\bdpkg-divert\b`), "diverts files of other packages (dpkg-divert)"},
	{regexp.MustCompile(`\bdpkg-statoverride\b`), "changes owners or modes (dpkg-statoverride)"},
	{regexp.MustCompile(`\b(chown|chmod|chgrp)\b`), "changes owners or modes (chown, chmod)"},
	{regexp.MustCompile(`\bsetcap\b`), "gives programs capabilities (setcap)"},
	{regexp.MustCompile(`\bupdate-alternatives\b`), "makes links (update-alternatives)"},
	{regexp.MustCompile(`\bucfr?\b`), "writes configuration files (ucf)"},
	{regexp.MustCompile(`\b(confmodule|db_get)\b`), "asks questions (debconf)"},
	{regexp.MustCompile(`\bdpkg-trigger\b`), "asks other packages to act (dpkg-trigger)"},
	{regexp.MustCompile(`\b(systemctl|deb-systemd-helper)\b.*\benable\b`), "enables units"},
}

func hints(body string) []string {
	var out []string
	for _, s := range signs {
		if s.pattern.MatchString(body) && !slices.Contains(out, s.hint) {
			out = append(out, s.hint)
		}
	}
	return out
}

// shown is the number of lines of a script that an error quotes.
const shown = 8

func (r Refusal) describe(b *strings.Builder) {
	fmt.Fprintf(b, "%s %s: %s", r.Package, r.Version, r.Script)
	switch {
	case r.Diff != "":
		b.WriteString(" is not the one that was modelled")
	case r.Script == "triggers":
		b.WriteString(": no model of what these do")
	}
	if len(r.Hints) > 0 {
		fmt.Fprintf(b, "; it %s", strings.Join(r.Hints, ", "))
	}
	b.WriteByte('\n')
	if r.Diff != "" {
		b.WriteString(indent(strings.Split(strings.TrimSuffix(r.Diff, "\n"), "\n")))
		return
	}
	b.WriteString(indent(r.Lines[:min(shown, len(r.Lines))]))
	if more := len(r.Lines) - shown; more > 0 {
		fmt.Fprintf(b, "    … and %d more lines\n", more)
	}
}

func indent(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("    " + l + "\n")
	}
	return b.String()
}

func (e *RefusedError) Error() string {
	var names []string
	for _, r := range e.Refusals {
		names = append(names, r.Package)
	}
	names = slices.Compact(names)
	var b strings.Builder
	fmt.Fprintf(&b, "images are built without running maintainer scripts, and no model covers those of %s:\n", strings.Join(names, ", "))
	for _, r := range e.Refusals {
		r.describe(&b)
	}
	fmt.Fprintf(&b, "leave the package out; or do what the script does in an overlay of your own, "+
		"and accept the package there: acceptUnmodelled: {%[1]s: \"why this is enough\"}, or --accept-unmodelled '%[1]s=why this is enough'; "+
		"or add a model, see image/rootfs/gate/README.md", names[0])
	return b.String()
}

package prune

import (
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// sample builds a tree from lines "path" (a file), "path/" (a directory),
// "path -> target" (a symbolic link) and "path = other" (a hard link).
func sample(t testing.TB, text string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		n := &tree.Node{Path: strings.TrimSuffix(line, "/"), Mode: 0o644, Content: tree.String(line)}
		switch p, target, ok := strings.Cut(line, " -> "); {
		case ok:
			n = &tree.Node{Path: p, Mode: fs.ModeSymlink | 0o777, Link: target}
		case strings.Contains(line, " = "):
			p, target, _ := strings.Cut(line, " = ")
			n = &tree.Node{Path: p, Mode: 0o644, Link: target}
		case strings.HasSuffix(line, "/"):
			n = &tree.Node{Path: n.Path, Mode: fs.ModeDir | 0o755}
		}
		if err := tr.MkdirAll(path.Dir(n.Path), time.Time{}, "test"); err != nil {
			t.Fatal(err)
		}
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func listing(tr *tree.Tree) string {
	var b strings.Builder
	for n := range tr.Walk() {
		switch {
		case n.Mode&fs.ModeSymlink != 0:
			b.WriteString(n.Path + " -> " + n.Link + "\n")
		case n.IsHardLink():
			b.WriteString(n.Path + " = " + n.Link + "\n")
		case n.Mode.IsDir() && n.Path != "." && len(tr.Children(n.Path)) == 0:
			b.WriteString(n.Path + "/\n")
		case !n.Mode.IsDir():
			b.WriteString(n.Path + "\n")
		}
	}
	return b.String()
}

const before = `
etc/alternatives/pager.1.gz -> /usr/share/man/man1/less.1.gz
etc/alternatives/pager -> /usr/bin/less
etc/broken -> /nowhere
usr/bin/less
usr/lib/firmware/brcm/brcmfmac43430.bin
usr/lib/firmware/brcm/brcmfmac43455.bin
usr/lib/firmware/brcm/brcmfmac43455.pi.txt -> brcmfmac43455.txt
usr/lib/firmware/brcm/brcmfmac43455.txt
usr/lib/firmware/other/x.bin
usr/share/doc/bash/README
usr/share/doc/bash/copyright
usr/share/doc/libx -> bash
usr/share/doc/zlib/examples/a/b.c
usr/share/locale/de/LC_MESSAGES/a.mo
usr/share/locale/locale.alias
usr/share/man/de/man1/less.1.gz
usr/share/man/man1/less.1.gz
usr/share/man/man1/pager.1.gz -> /etc/alternatives/pager.1.gz
`

func TestApply(t *testing.T) {
	for _, c := range []struct {
		name     string
		patterns []string
		gone     []string // lines of before
		added    []string
	}{
		{"a directory", []string{"usr/share/man"}, []string{
			"etc/alternatives/pager.1.gz -> /usr/share/man/man1/less.1.gz",
			"usr/share/man/de/man1/less.1.gz", "usr/share/man/man1/less.1.gz", "usr/share/man/man1/pager.1.gz -> /etc/alternatives/pager.1.gz"}, nil},
		{"what is in it", []string{"/usr/share/man/**"}, []string{
			"etc/alternatives/pager.1.gz -> /usr/share/man/man1/less.1.gz",
			"usr/share/man/de/man1/less.1.gz", "usr/share/man/man1/less.1.gz", "usr/share/man/man1/pager.1.gz -> /etc/alternatives/pager.1.gz"}, []string{"usr/share/man/"}},
		{"a name within a directory", []string{"usr/share/man/??"}, []string{"usr/share/man/de/man1/less.1.gz"}, nil},
		{"any depth", []string{"usr/share/**/man1"}, []string{
			"etc/alternatives/pager.1.gz -> /usr/share/man/man1/less.1.gz",
			"usr/share/man/de/man1/less.1.gz", "usr/share/man/man1/less.1.gz", "usr/share/man/man1/pager.1.gz -> /etc/alternatives/pager.1.gz"}, []string{"usr/share/man/de/"}},
		{"no depth at all", []string{"usr/bin/**/less"}, []string{"etc/alternatives/pager -> /usr/bin/less", "usr/bin/less"}, []string{"usr/bin/"}},
		{"except a name", []string{"usr/share/doc/** except copyright"}, []string{
			"usr/share/doc/bash/README", "usr/share/doc/libx -> bash", "usr/share/doc/zlib/examples/a/b.c"}, nil},
		{"except globs", []string{"usr/lib/firmware/** except brcmfmac43455* usr/lib/firmware/other/x.*"}, []string{"usr/lib/firmware/brcm/brcmfmac43430.bin"}, nil},
		{"except a directory keeps only its name", []string{"usr/share/locale/** except de"}, []string{
			"usr/share/locale/de/LC_MESSAGES/a.mo", "usr/share/locale/locale.alias"}, []string{"usr/share/locale/de/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, unmatched, err := Apply(sample(t, before), c.patterns)
			if err != nil || len(unmatched) > 0 {
				t.Fatal(unmatched, err)
			}
			want := listing(sample(t, before))
			for _, line := range c.gone {
				if !strings.Contains(want, line+"\n") {
					t.Fatalf("%s is not in the sample", line)
				}
				want = strings.Replace(want, line+"\n", "", 1)
			}
			full := listing(sample(t, want+strings.Join(c.added, "\n")))
			if diff := cmp.Diff(full, listing(tr)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnmatched(t *testing.T) {
	tr := sample(t, before)
	_, got, err := Apply(tr, []string{"usr/share/inof/**", "usr/bin/less", "usr/bin/less/x", "usr/bin/le", "usr/bin/less except less"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"usr/share/inof/**", "usr/bin/less/x", "usr/bin/le", "usr/bin/less except less"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHardLinksSurvive(t *testing.T) {
	before := sample(t, "usr/share/a/1\nusr/share/b/2 = usr/share/a/1\n")
	tr, _, err := Apply(before, []string{"usr/share/a"})
	if err != nil {
		t.Fatal(err)
	}
	if before.Get("usr/share/a/1") == nil {
		t.Error("the tree it came from was changed")
	}
	if b, err := tr.ReadAll("usr/share/b/2"); err != nil || string(b) != "usr/share/a/1" {
		t.Errorf("%q %v", b, err)
	}
}

func TestRefused(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                       "want PATTERN",
		"usr/share/doc copy":     "want PATTERN",
		"usr/share/doc but copy": "want PATTERN",
		"usr":                    "reaches for the whole root",
		"**":                     "reaches for the whole root",
		"*/share":                "reaches for the whole root",
		"**/doc":                 "reaches for the whole root",
		"usr/../etc":             "not a clean path",
		"usr/share/":             "not a clean path",
		"usr/share/[":            "syntax error",
		"usr/share/x except [a":  "syntax error",
		"usr/share/a**":          "whole directories",
	} {
		if _, _, err := Apply(sample(t, before), []string{pattern}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}

// FuzzApply: no pattern panics, leaves a node without a directory, or makes a
// link dangle that did not.
func FuzzApply(f *testing.F) {
	for _, s := range []string{"usr/share/man/**", "usr/share/doc/** except copyright", "usr/*/[a-m]*/?e", "etc/**/**/x", "usr/\\*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		tr, _, err := Apply(sample(t, before), []string{pattern})
		if err != nil {
			return
		}
		for n := range tr.Walk() {
			if tr.Get(path.Dir(n.Path)) == nil {
				t.Errorf("%s has no directory", n.Path)
			}
			if _, err := tr.Resolve(n.Path); err != nil && n.Path != "etc/broken" {
				t.Errorf("%s dangles", n.Path)
			}
		}
	})
}

package lock

import (
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
)

// checker collects findings about the fields below a path.
type checker struct {
	*strictyaml.Findings
	at []string
}

// in returns a checker for an entry of a list.
func (c checker) in(list string, i int) checker {
	return checker{c.Findings, []string{list, strconv.Itoa(i)}}
}

func (c checker) fail(field, format string, args ...any) {
	c.Refuse(append(slices.Clone(c.at), field), format, args...)
}

func (l *Lock) validate(doc *strictyaml.Document) error {
	c := checker{Findings: doc.Findings()}
	if l.Version != Version {
		return doc.Errorf([]string{"version"}, "is %d; this imagebuilder reads version %d", l.Version, Version)
	}
	c.word("board", l.Board)
	c.word("arch", l.Arch)
	c.date("timestamp", l.Timestamp)
	if l.Inputs != "" {
		c.digest("inputs", l.Inputs)
	}
	for i, name := range l.Overlays {
		checker{c.Findings, []string{"overlays"}}.word(strconv.Itoa(i), name)
	}
	l.checkSuites(c)
	l.checkPackages(c)
	l.checkComponents(c)
	l.checkImages(c)
	return c.Err()
}

func (l *Lock) checkSuites(c checker) {
	if len(l.Suites) == 0 {
		c.fail("suites", "is empty")
	}
	seen := map[string]bool{}
	for i, s := range l.Suites {
		c := c.in("suites", i)
		c.word("name", s.Name)
		if seen[s.Name] {
			c.fail("name", "%s is listed twice", s.Name)
		}
		seen[s.Name] = true
		c.date("date", s.Date)
		if s.Date.After(l.Timestamp) {
			c.fail("date", "is after the timestamp of the lock")
		}
		c.digest("inReleaseSHA256", s.InReleaseSHA256)
		if len(s.Components) == 0 {
			c.fail("components", "is empty")
		}
		for j, name := range s.Components {
			checker{c.Findings, append(slices.Clone(c.at), "components")}.word(strconv.Itoa(j), name)
		}
	}
}

func (l *Lock) checkPackages(c checker) {
	suites := map[string]bool{}
	for _, s := range l.Suites {
		suites[s.Name] = true
	}
	last := ""
	for i, p := range l.Packages {
		c := c.in("packages", i)
		c.word("name", p.Name)
		switch {
		case p.Name == last:
			c.fail("name", "%s is listed twice", p.Name)
		case p.Name < last:
			c.fail("name", "%s stands after %s; packages are sorted by name", p.Name, last)
		}
		last = p.Name
		c.word("version", p.Version)
		if p.Arch != l.Arch && p.Arch != "all" {
			c.fail("arch", "is %q, but the lock is for %s", p.Arch, l.Arch)
		}
		if !suites[p.Suite] {
			c.fail("suite", "%q is not in suites", p.Suite)
		}
		if !local(p.Filename) {
			c.fail("filename", "%q is not a path below a mirror", p.Filename)
		}
		if p.Size <= 0 {
			c.fail("size", "is not positive")
		}
		c.digest("sha256", p.SHA256)
	}
}

func (l *Lock) checkComponents(c checker) {
	type key struct{ name, file string }
	seen := map[key]bool{}
	for i, x := range l.Components {
		c := c.in("components", i)
		c.word("name", x.Name)
		if seen[key{x.Name, x.File}] {
			c.fail("name", "%s %s is listed twice", x.Name, x.File)
		}
		seen[key{x.Name, x.File}] = true
		c.word("version", x.Version)
		c.word("arch", x.Arch)
		c.digest("sha256", x.SHA256)
		if x.Size < 0 {
			c.fail("size", "is negative")
		}
		if x.URL != "" {
			c.web("url", x.URL)
		}
		if x.Deferred && x.URL == "" {
			c.fail("url", "is missing; a deferred component needs one")
		}
	}
}

func (l *Lock) checkImages(c checker) {
	last := ""
	for i, x := range l.Images {
		c := c.in("images", i)
		bad := reference.CheckDigest(x.Digest)
		switch r, err := reference.Parse(x.Name + "@" + x.Digest); {
		case bad != nil:
			c.fail("digest", "%v", bad)
		case err != nil:
			c.fail("name", "%v", err)
		case r.Name != x.Name:
			c.fail("name", "%q is not spelled in full: %s", x.Name, r.Name)
		case x.Name <= last:
			c.fail("name", "%s does not stand after %s; images are sorted by name, each once", x.Name, last)
		}
		last = x.Name
	}
}

// word refuses empty text, and text with spaces or control characters.
func (c checker) word(field, s string) {
	if s == "" {
		c.fail(field, "is missing")
	} else if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		c.fail(field, "%q has spaces or control characters", s)
	}
}

func (c checker) digest(field, s string) {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		c.fail(field, "%q is not a sha256 in lower-case hex", s)
	}
}

// date refuses times that SOURCE_DATE_EPOCH cannot represent.
func (c checker) date(field string, t time.Time) {
	if t.IsZero() || t.Unix() <= 0 || t.Nanosecond() != 0 || t.Year() > 9999 {
		c.fail(field, "is missing, or not a whole second since 1970")
	}
}

func local(name string) bool {
	return name != "" && name != "." && name == path.Clean(name) && !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../") && !strings.Contains(name, `\`)
}

// web refuses what is not a web address. It also refuses passwords, because locks are
// published.
func (c checker) web(field, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		c.fail(field, "is not an http or https address")
	case u.User != nil:
		c.fail(field, "%q has a user or password, which a lock must not", u.Redacted())
	}
}

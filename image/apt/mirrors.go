package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/deb822"
)

// Mirrors are base URLs of Debian's two archives, each list in order of preference.
type Mirrors struct {
	Archive  []string // of suites such as trixie and trixie-updates
	Security []string // of suites such as trixie-security
}

// For returns the mirrors that serve a suite.
func (m Mirrors) For(suite string) []string {
	if isSecurity(suite) {
		return m.Security
	}
	return m.Archive
}

// Append returns m with the mirrors of other after those of m, without duplicates.
func (m Mirrors) Append(other Mirrors) Mirrors {
	return Mirrors{unique(m.Archive, other.Archive), unique(m.Security, other.Security)}
}

func unique(lists ...[]string) []string {
	var out []string
	for _, s := range slices.Concat(lists...) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func isSecurity(suite string) bool { return strings.HasSuffix(suite, "-security") }

// SnapshotMirrors returns the archives as they were at time t: the snapshot archive serves
// the newest snapshot that is not later than t.
func SnapshotMirrors(t time.Time) Mirrors {
	at := t.UTC().Format("20060102T150405Z")
	return Mirrors{
		Archive:  []string{snapshotBase + "debian/" + at + "/"},
		Security: []string{snapshotBase + "debian-security/" + at + "/"},
	}
}

// SnapshotInterval is how often the snapshot archive takes a snapshot.
const SnapshotInterval = 6 * time.Hour

const snapshotBase = "https://snapshot.debian.org/archive/"

// HostMirrors returns the mirrors that this host's apt uses for Debian's own suites, from
// sources that serve arch. There are none on a host without apt, or with sources of a
// derivative only. A source file that cannot be read or parsed is an error that may be
// reported and otherwise ignored: the mirrors of the other files are returned with it.
func HostMirrors(arch, suite string) (Mirrors, error) {
	return hostMirrors(os.DirFS("/"), arch, suite)
}

// hostMirrors reads the sources below root. suite is the codename that the image uses. A
// mirror that has one Debian release has the others too, so sources of other releases also
// count, after those of suite.
func hostMirrors(root fs.FS, arch, suite string) (Mirrors, error) {
	sources, err := readSources(root)
	var exact, other Mirrors
	for _, s := range sources {
		for _, name := range s.suites {
			if !s.enabled || !debianSuite(name) || !s.serves(arch) || !debianComponents(s.components) {
				continue
			}
			to := &other
			if strings.HasPrefix(name, suite) {
				to = &exact
			}
			to.add(s.debianURIs(), isSecurity(name))
		}
	}
	return exact.Append(other), err
}

func (m *Mirrors) add(uris []string, security bool) {
	to := &m.Archive
	if security {
		to = &m.Security
	}
	for _, u := range uris {
		if usableURI(u) {
			*to = unique(*to, []string{strings.TrimRight(u, "/") + "/"})
		}
	}
}

// usableURI refuses what only apt understands, such as cdrom, mirror+file and tor+http, and
// relative or malformed addresses.
func usableURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// source is one entry of sources.list(5).
type source struct {
	uris, suites, components, archs []string
	signedBy                        string
	enabled                         bool
}

func (s source) serves(arch string) bool {
	return len(s.archs) == 0 || slices.Contains(s.archs, arch)
}

// debianURIs are the addresses that are of Debian's archives. Third parties use the names of
// Debian's suites and components, too. A source counts if Debian's keys sign it. If none are
// named, its addresses with debian in them count.
func (s source) debianURIs() []string {
	switch {
	case strings.HasPrefix(path.Base(s.signedBy), "debian-archive-"):
		return s.uris
	case s.signedBy != "":
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.uris), func(u string) bool { return !strings.Contains(strings.ToLower(u), "debian") })
}

var (
	debianReleases = []string{"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"}
	suiteSuffixes  = []string{"", "-updates", "-security", "-backports", "-proposed-updates"}
)

// debianSuite tells Debian's suites from those of third parties.
func debianSuite(name string) bool {
	for _, r := range debianReleases {
		if rest, ok := strings.CutPrefix(name, r); ok && slices.Contains(suiteSuffixes, rest) {
			return true
		}
	}
	return false
}

// debianComponents refuses archives that reuse Debian's suite names for
// components of their own.
func debianComponents(components []string) bool {
	return slices.Contains(components, "main") && !slices.ContainsFunc(components, func(c string) bool {
		return !slices.Contains([]string{"main", "contrib", "non-free", "non-free-firmware"}, c)
	})
}

// readSources reads sources.list and sources.list.d. It returns the sources that it could
// read together with the error about the others.
func readSources(root fs.FS) ([]source, error) {
	const dir = "etc/apt/sources.list.d"
	names := []string{"etc/apt/sources.list"}
	entries, err := fs.ReadDir(root, dir)
	var errs []error
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries { // sorted, as apt reads them
		names = append(names, path.Join(dir, e.Name()))
	}
	var all []source
	for _, name := range names {
		parse := parserFor(name)
		if parse == nil {
			continue
		}
		b, err := fs.ReadFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			var found []source
			found, err = parse(string(b))
			all = append(all, found...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("/%s: %w", name, err))
		}
	}
	return all, errors.Join(errs...)
}

func parserFor(name string) func(string) ([]source, error) {
	switch path.Ext(name) {
	case ".list":
		return parseSourceList
	case ".sources":
		return parseDeb822Sources
	}
	return nil
}

// parseSourceList reads the one-line format: deb [options] uri suite component...
func parseSourceList(text string) ([]source, error) {
	var all []source
	var errs []error
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		s, ok, err := parseSourceLine(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
		if ok {
			all = append(all, s)
		}
	}
	return all, errors.Join(append(errs, lines.Err())...)
}

func parseSourceLine(line string) (s source, ok bool, err error) {
	kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
	if kind == "" || kind == "deb-src" {
		return s, false, nil
	}
	if kind != "deb" {
		return s, false, fmt.Errorf("%q is neither deb nor deb-src", shorten(kind))
	}
	rest = strings.TrimSpace(rest)
	if inner, found := strings.CutPrefix(rest, "["); found {
		options, after, closed := strings.Cut(inner, "]")
		if !closed {
			return s, false, errors.New("options are not closed by ]")
		}
		if archs := option(options, "arch"); archs != "" {
			s.archs = strings.Split(archs, ",")
		}
		s.signedBy, rest = option(options, "signed-by"), after
	}
	w := strings.Fields(rest)
	if len(w) < 2 {
		return s, false, errors.New("URI or suite is missing")
	}
	s.uris, s.suites, s.components, s.enabled = w[:1], w[1:2], w[2:], true
	return s, true, nil
}

func option(options, name string) string {
	for _, o := range strings.Fields(options) {
		if v, ok := strings.CutPrefix(o, name+"="); ok {
			return v
		}
	}
	return ""
}

// parseDeb822Sources reads the paragraph format of .sources files.
func parseDeb822Sources(text string) ([]source, error) {
	var all []source
	paragraphs, err := deb822.All(text)
	for _, f := range paragraphs {
		if !slices.Contains(strings.Fields(f["types"]), "deb") {
			continue
		}
		all = append(all, source{
			uris:       strings.Fields(f["uris"]),
			suites:     strings.Fields(f["suites"]),
			components: strings.Fields(f["components"]),
			archs:      strings.Fields(f["architectures"]),
			signedBy:   strings.TrimSpace(f["signed-by"]),
			enabled:    !slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(f["enabled"])),
		})
	}
	return all, err
}

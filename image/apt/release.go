package apt

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/deb822"
)

// releaseFile is a parsed Release file, the signed list of a suite's indexes.
type releaseFile struct {
	origin, suite, codename   string
	date, validUntil          time.Time
	components, architectures []string
	byHash                    bool
	allApart                  bool // packages of Architecture: all have their own Packages files
	files                     map[string]releaseEntry
}

type releaseEntry struct {
	sha256 string
	size   int64
}

// parseRelease reads the text of a Release file.
func parseRelease(text string) (*releaseFile, error) {
	f, err := deb822.Parse(strings.TrimRight(text, "\n"))
	if err != nil {
		return nil, err
	}
	r := &releaseFile{
		origin:        f["origin"],
		suite:         f["suite"],
		codename:      f["codename"],
		components:    strings.Fields(f["components"]),
		architectures: strings.Fields(f["architectures"]),
		byHash:        f["acquire-by-hash"] == "yes",
	}
	r.allApart = slices.Contains(r.architectures, "all") &&
		!slices.Contains(strings.Fields(f["no-support-for-architecture-all"]), "Packages")
	if r.date, err = parseDate(f["date"]); err != nil {
		return nil, fmt.Errorf("field Date: %w", err)
	}
	if s := f["valid-until"]; s != "" {
		if r.validUntil, err = parseDate(s); err != nil {
			return nil, fmt.Errorf("field Valid-Until: %w", err)
		}
	}
	if r.files, err = parseFiles(f["sha256"]); err != nil {
		return nil, fmt.Errorf("field SHA256: %w", err)
	}
	return r, nil
}

// parseDate reads RFC 1123 dates, which archives write in UTC only.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 UTC", "Mon, _2 Jan 2006 15:04:05 GMT", "Mon, _2 Jan 2006 15:04:05 +0000"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date in UTC", shorten(s))
}

func parseFiles(field string) (map[string]releaseEntry, error) {
	files := map[string]releaseEntry{}
	for line := range strings.Lines(field) {
		w := strings.Fields(line)
		if len(w) != 3 || len(w[0]) != 64 || strings.Trim(w[0], "0123456789abcdef") != "" {
			return nil, fmt.Errorf("%q is not a digest, a size and a name", shorten(line))
		}
		size, err := strconv.ParseInt(w[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("%q has no size", shorten(line))
		}
		files[w[2]] = releaseEntry{w[0], size}
	}
	if len(files) == 0 {
		return nil, errors.New("is missing or empty")
	}
	return files, nil
}

// dateLayout is the format in which errors show the dates of indexes, in UTC.
const dateLayout = "2 January 2006 15:04 UTC"

// clockSlack is how far in the future an index may be dated, because clocks differ.
const clockSlack = time.Hour

// check compares the Release file with the requested suite and architecture, and its dates
// with now.
func (r *releaseFile) check(s Suite, arch string, now time.Time) error {
	switch {
	case r.codename != s.Name && r.suite != s.Name:
		return fmt.Errorf("index is of suite %q (%q), not of %q", r.codename, r.suite, s.Name)
	case r.date.After(now.Add(clockSlack)):
		return fmt.Errorf("index is dated %s, which is in the future; is the clock right? It says %s",
			r.date.Format(dateLayout), now.UTC().Format(dateLayout))
	case !r.validUntil.IsZero() && now.After(r.validUntil):
		return fmt.Errorf("index expired on %s; the mirror is stale, or the clock is wrong: it says %s",
			r.validUntil.Format(dateLayout), now.UTC().Format(dateLayout))
	case !slices.Contains(r.architectures, arch):
		return fmt.Errorf("suite has no architecture %s (only %s)", arch, strings.Join(r.architectures, " "))
	}
	for _, c := range s.Components {
		if !r.hasComponent(c) {
			return fmt.Errorf("suite has no component %s (only %s)", c, strings.Join(r.components, " "))
		}
	}
	return nil
}

// hasComponent also accepts updates/main for main, as security suites have it.
func (r *releaseFile) hasComponent(want string) bool {
	return slices.ContainsFunc(r.components, func(c string) bool {
		return c == want || strings.HasSuffix(c, "/"+want)
	})
}

// compressions of an index, the preferred first. gzip takes a third more bytes than xz, but
// a fifth of the time: the index is 7 % of a build's download, but the whole build waits
// for it.
var compressions = []string{".zst", ".gz", ".xz", ""}

// packages selects the Packages file of a component. plain is the entry of the uncompressed
// file, whose digest is checked; name is the compressed file to fetch.
func (r *releaseFile) packages(component, arch string) (plain releaseEntry, name string, err error) {
	base := component + "/binary-" + arch + "/Packages"
	for _, ext := range compressions {
		if _, ok := r.files[base+ext]; !ok {
			continue
		}
		plain, ok := r.files[base]
		if !ok {
			return plain, "", fmt.Errorf("index lists %s%s, but not the digest of its content", base, ext)
		}
		return plain, base + ext, nil
	}
	return plain, "", fmt.Errorf("index lists no %s", base)
}

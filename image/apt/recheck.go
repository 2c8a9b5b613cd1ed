package apt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// Recheck looks packages up in the index that they were once resolved from: the one with
// the digest and date of from, whatever the mirrors serve today. The error is a
// *fetch.Error if no mirror has that index any more, and fetch.Local reports true for it if
// this computer cannot store or read the index. Any other error, except that of a cancelled
// context, means that the archive does not list these packages.
func Recheck(ctx context.Context, c *fetch.Cache, s Suite, arch string, from Release, pkgs []*Package, opt Options) error {
	opt.Now = from.Date.Add(24 * time.Hour) // an index is signed within hours after its date
	l, a, err := newLoader(c, arch, opt)
	if err != nil {
		return err
	}
	defer a.Close()
	rel, err := l.pinned(ctx, s, from)
	if err != nil {
		return err
	}
	if a.parts, err = l.components(ctx, s, s.Mirrors, rel); err != nil {
		return err
	}
	for _, p := range pkgs {
		if err := a.lists(p); err != nil {
			return fmt.Errorf("suite %s: %w", s.Name, err)
		}
	}
	return nil
}

// pinned reads the InRelease file with the digest of from. Each mirror is tried only once:
// most of them have newer files by now.
func (l *loader) pinned(ctx context.Context, s Suite, from Release) (*releaseFile, error) {
	r := fetch.Request{Name: s.Name + " InRelease of " + from.Date.Format(dateLayout), SHA256: from.SHA256, Once: true}
	for _, m := range s.Mirrors {
		r.URLs = append(r.URLs, join(m, "dists", s.Name, "InRelease"))
	}
	f, err := l.cache.Get(ctx, r, l.opt.Progress)
	if err != nil {
		return nil, err
	}
	msg, err := f.Bytes()
	if err != nil {
		return nil, err
	}
	rel, err := l.read(msg, s)
	if err == nil && !rel.date.Equal(from.Date) {
		err = fmt.Errorf("index is dated %s, not %s", rel.date.Format(dateLayout), from.Date.Format(dateLayout))
	}
	if err != nil {
		return nil, fmt.Errorf("suite %s, InRelease %s: %w", s.Name, from.SHA256, err)
	}
	return rel, nil
}

// lists refuses a package unless the archive lists it with exactly these values.
func (a *Archive) lists(p *Package) error {
	versions, err := a.Versions(p.Name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(versions, func(v *Package) bool {
		return v.Version == p.Version && v.Architecture == p.Architecture && v.Filename == p.Filename && v.Size == p.Size && v.SHA256 == p.SHA256
	}) {
		return fmt.Errorf("%s %s (%s, sha256 %s) is not in the index", p.Name, p.Version, p.Filename, p.SHA256)
	}
	return nil
}

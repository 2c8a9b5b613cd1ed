package apt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// Recheck looks packages up in the index that they once came from: the one of
// the given digest and date, whatever the mirrors serve today. The error is a
// *fetch.Error where nobody has that index any more, and fetch.Local where this
// computer cannot keep or read it; all others but a cancelled context's tell that
// the packages are not those of the archive.
func Recheck(ctx context.Context, c *fetch.Cache, s Suite, arch string, from Release, pkgs []*Package, opt Options) error {
	opt.Now = from.Date.Add(24 * time.Hour) // it was signed in the hours after its date
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

// pinned reads the InRelease file of a known digest. One attempt per mirror
// will do: most have moved on.
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

// lists refuses a package that the archive does not list exactly so.
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

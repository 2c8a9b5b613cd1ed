package apt

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// FetchOptions are the options of Fetch.
type FetchOptions struct {
	Snapshot time.Time // the archive's date; lets the snapshot archive serve what mirrors have dropped. Zero: mirrors only
	Parallel int       // downloads at once; 0 means 8
	Progress progress.Reporter
}

// Fetch downloads packages into the cache, from their mirrors in order and then from the
// snapshot archive. It calls each for every package as it arrives, from several goroutines.
// The first error ends Fetch.
func Fetch(ctx context.Context, c *fetch.Cache, pkgs []*Package, opt FetchOptions, each func(p *Package, file *fetch.File) error) error {
	if opt.Parallel <= 0 {
		opt.Parallel = 8
	}
	if opt.Progress == nil {
		opt.Progress = progress.Discard
	}
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(opt.Parallel)
	for _, p := range pkgs {
		if group.Err() != nil {
			break
		}
		g.Go(func() error {
			file, err := c.Get(group, p.Request(opt.Snapshot), opt.Progress)
			if err != nil {
				return err
			}
			return each(p, file)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Request returns the request with which the cache fetches the .deb of p.
func (p *Package) Request(snapshot time.Time) fetch.Request {
	return fetch.Request{
		Name:   fmt.Sprintf("%s %s", p.Name, p.Version),
		URLs:   p.urls(snapshot),
		SHA256: p.SHA256,
		Size:   p.Size,
	}
}

// urls lists mirrors first and the snapshot archive last.
func (p *Package) urls(snapshot time.Time) []string {
	var urls []string
	for _, m := range p.Mirrors {
		urls = append(urls, join(m, p.Filename))
	}
	if snapshot.IsZero() {
		return urls
	}
	// The snapshot archive takes a snapshot every six hours. A package that is new in the
	// index is in the first snapshot after the index's date, which snapshot+24h covers: an
	// old version stays in the pool for more than a day.
	for _, t := range []time.Time{snapshot.Add(24 * time.Hour), snapshot} {
		for _, m := range SnapshotMirrors(t).For(p.Suite) {
			urls = append(urls, join(m, p.Filename))
		}
	}
	return unique(urls) // a mirror may be the snapshot archive itself
}

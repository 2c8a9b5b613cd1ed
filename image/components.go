package image

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/lock"
)

// findComponents returns the components sorted by name, as in the lock.
func (p *plan) findComponents(ctx context.Context) ([]*component.Resolved, error) {
	opt := component.Options{
		Overrides: p.opt.Components, Mirror: p.opt.ComponentMirror, Strict: p.opt.Strict,
		Progress: p.opt.Progress, Pins: pins(p.opt.Lock),
	}
	names := p.components
	for name := range p.opt.Components {
		names = append(names, name)
	}
	names = sortedSet(names)
	found := make([]*component.Resolved, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() (err error) {
			found[i], err = component.Resolve(ctx, p.opt.Cache, name, p.opt.Board.Arch, opt)
			return err
		})
	}
	return found, g.Wait()
}

func (in *inputs) addComponents(found []*component.Resolved) {
	pinned := in.lock.Components
	in.components, in.lock.Components = found, nil
	for _, r := range found {
		in.lock.Components = append(in.lock.Components, lockComponent(r))
		i := slices.IndexFunc(pinned, func(c lock.Component) bool { return c.Name == r.Name })
		if i >= 0 && pinned[i].SHA256 != r.SHA256 {
			in.hostWarnings = append(in.hostWarnings, fmt.Sprintf("component %s is another than the lock's: expect other bytes", r.Name))
		}
	}
	if len(pinned) > len(found) {
		in.hostWarnings = append(in.hostWarnings, "the lock pins components that this image does not have")
	}
}

// deferrals maps each component that is left to first boot to the reason why.
func (in *inputs) deferrals() map[string]string {
	why := map[string]string{}
	for _, c := range in.components {
		if c.Deferred {
			why[c.Name] = c.Reason
		}
	}
	return why
}

func lockComponent(r *component.Resolved) lock.Component {
	pin := r.Pin()
	c := lock.Component{
		Name: r.Name, Version: pin.Version, Arch: r.Arch, URL: pin.URL,
		BuiltFrom: pin.Module, Toolchain: pin.Toolchain, SHA256: pin.SHA256, Size: pin.Size, Deferred: r.Deferred,
	}
	if r.Source == component.FromFile { // a local path: the lock may be shared, so it gets the file name only
		c.URL, c.File = "", filepath.Base(pin.URL)
	}
	return c
}

func pins(l *lock.Lock) map[string]component.Pin {
	if l == nil {
		return nil
	}
	out := map[string]component.Pin{}
	for _, c := range l.Components {
		out[c.Name] = component.Pin{
			Version: c.Version, Source: sourceOf(c), URL: cmp.Or(c.URL, c.File),
			Module: c.BuiltFrom, Toolchain: c.Toolchain, SHA256: c.SHA256, Size: c.Size,
		}
	}
	return out
}

func sourceOf(c lock.Component) component.Source {
	switch {
	case c.Deferred:
		return component.Deferred
	case c.BuiltFrom != "":
		return component.FromModule
	case c.File != "":
		return component.FromFile
	}
	return component.FromRelease
}

package component

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Options are the user's choices. The zero value uses the defaults.
type Options struct {
	// Overrides maps a component to VERSION, the path of a file, or a
	// URL[#sha256=HEX], as --component NAME=VALUE gives them.
	Overrides map[string]string
	// Pins are a lock's; a component that has one is resolved by it alone.
	Pins map[string]Pin
	// Mirror replaces scheme and host of every release URL, but not of lists of digests.
	Mirror string
	// Strict makes it an error if a component would be deferred or has a warning.
	Strict bool
	// Progress receives the tasks; nil reports nothing.
	Progress progress.Reporter
	// Go is the go command; "" means "go", and "-" never builds.
	Go string
}

// Pin is what a lock records of a resolved component.
type Pin struct {
	Version string `json:"version"`
	Source  Source `json:"source"`
	URL     string `json:"url,omitempty"`    // for release, deferred and file
	Module  string `json:"module,omitempty"` // for module: PATH@VERSION
	// Toolchain built the module, such as "go1.26.8".
	Toolchain string `json:"toolchain,omitempty"`
	SHA256    string `json:"sha256"`         // of the download or of the built program
	Size      int64  `json:"size,omitempty"` // bytes
}

// Source says where a component came from.
type Source string

// The sources.
const (
	FromRelease Source = "release"  // downloaded from URL
	FromModule  Source = "module"   // built from a Go module
	FromFile    Source = "file"     // a file given by the user
	Deferred    Source = "deferred" // left to firstboot
)

// Resolved is a component that was found, or deferred.
type Resolved struct {
	Name, Version, Arch string
	Source              Source
	URL                 string // of the download, without the mirror; or the path of a file
	SHA256              string
	Size                int64 // bytes; 0 if unknown
	Deferred            bool
	Reason              string // why it is deferred, in one line
	Warning             string // what is wrong with it, in one line; "" if nothing is
	BuiltFrom           string // "tailscale.com@v1.102.5"
	Toolchain           string // "go1.26.8"
	// Nodes are to be added to the image, without parent directories or times.
	Nodes []*tree.Node

	format string
	layout Layout
	urls   []string
}

// Pin returns what a lock needs to get the same component again.
func (r *Resolved) Pin() Pin {
	return Pin{Version: r.Version, Source: r.Source, URL: r.URL, Module: r.BuiltFrom, Toolchain: r.Toolchain, SHA256: r.SHA256, Size: r.Size}
}

// Entry returns the component's entry in node.ComponentsFile. It lacks the Reason: that
// depends on the builder's network, and the image must not.
func (r *Resolved) Entry() node.Component {
	e := node.Component{
		Name: r.Name, Version: r.Version, SHA256: r.SHA256, Size: r.Size,
		Format: r.format, Deferred: r.Deferred,
	}
	if r.Deferred {
		e.URLs = r.urls
	}
	for _, f := range r.layout.Files {
		e.Files = append(e.Files, node.ComponentFile{Member: f.Member, Name: base(f.Path), Mode: uint32(f.Mode)})
	}
	return e
}

// Manifest returns the content of node.ComponentsFile for the components of an image.
func Manifest(all []*Resolved) ([]byte, error) {
	list := make([]node.Component, len(all))
	for i, r := range all {
		list[i] = r.Entry()
	}
	return node.MarshalComponents(list)
}

// request is one component that is being resolved.
type request struct {
	*Component
	arch  string
	cache *fetch.Cache
	opt   Options

	goVersion string // the toolchain that a lock demands; "" for any
}

// Resolve resolves one component for a Debian architecture. Without Strict, the only errors
// are those that a person must fix: unknown names, bad overrides, a digest that does not
// match, a fault of this computer such as a full disk, a cancelled context.
func Resolve(ctx context.Context, cache *fetch.Cache, name, arch string, opt Options) (*Resolved, error) {
	c, err := Find(name)
	if err != nil {
		return nil, err
	}
	if _, ok := c.Assets[arch]; !ok {
		return nil, fmt.Errorf("component %s does not exist for %s, only for %s", name, arch, strings.Join(c.Architectures(), ", "))
	}
	if opt.Progress == nil {
		opt.Progress = progress.Discard
	}
	if err := checkMirror(opt.Mirror); err != nil {
		return nil, err
	}
	q := &request{Component: c, arch: arch, cache: cache, opt: opt}
	r, err := q.choose(ctx)
	if err != nil {
		return nil, fmt.Errorf("component %s: %w", name, err)
	}
	r.Warning = q.warning(r)
	switch {
	case opt.Strict && r.Warning != "":
		return nil, fmt.Errorf("component %s: %s; --strict forbids that", name, r.Warning)
	case opt.Strict && r.Deferred:
		return nil, fmt.Errorf("component %s: cannot be had now (%s) and --strict forbids leaving it to first boot", name, r.Reason)
	}
	return r, nil
}

func (q *request) choose(ctx context.Context) (*Resolved, error) {
	if value, ok := q.opt.Overrides[q.Name]; ok {
		return q.override(ctx, value)
	}
	if pin, ok := q.opt.Pins[q.Name]; ok {
		return q.pinned(ctx, pin)
	}
	version := q.Releases[0].Version
	sum := q.digest(version, q.arch)
	if sum != "" {
		return q.any(ctx, q.release(version, sum))
	}
	err := fmt.Errorf("no digest of %s for %s is pinned; use --component %s=%s to take upstream's", version, q.arch, q.Name, version)
	if q.Module == nil {
		return nil, err
	}
	r, why := q.build(ctx)
	if why != nil { // it cannot be deferred: the node would have no digest
		return nil, fmt.Errorf("%w; %w", why, err)
	}
	return r, nil
}

// any tries the release, then the module, and defers the component if both fail.
func (q *request) any(ctx context.Context, d download) (*Resolved, error) {
	r, why, err := q.fetch(ctx, d)
	if r != nil || err != nil {
		return r, err
	}
	reasons := []string{why}
	if q.Module != nil {
		r, err := q.build(ctx)
		if err == nil || fetch.Local(err) || ctx.Err() != nil {
			return r, errors.Join(err, ctx.Err())
		}
		reasons = append(reasons, oneLine(err.Error()))
	}
	return q.deferred(d, strings.Join(reasons, "; ")), nil
}

// pinned does exactly what a lock says. A deferred component stays deferred; otherwise the
// image would be a different one.
func (q *request) pinned(ctx context.Context, p Pin) (*Resolved, error) {
	d := download{version: p.Version, url: p.URL, sha256: p.SHA256, size: p.Size}
	switch p.Source {
	case Deferred:
		return q.deferred(d, "deferred in the lock"), nil
	case FromFile:
		return q.again(ctx, p)
	case FromModule:
		return q.rebuild(ctx, p)
	case FromRelease:
		r, why, err := q.fetch(ctx, d)
		if err == nil && r == nil {
			err = errors.New(why)
		}
		return r, err
	}
	return nil, fmt.Errorf("the lock names the unknown source %q", p.Source)
}

// deferred links the program's usual paths to where firstboot will install it.
func (q *request) deferred(d download, reason string) *Resolved {
	r := q.resolved(d, Deferred, q.Format)
	r.Deferred, r.Reason, r.layout = true, reason, r.layout.called(d.sha256, endingIn(d.url))
	for _, f := range r.layout.Files {
		target := "/" + node.ComponentsDir + "/" + q.Name + "/" + base(f.Path)
		r.Nodes = append(r.Nodes, q.link(Link{f.Path, target}, r))
	}
	q.addLinks(r)
	return r
}

func (q *request) resolved(d download, from Source, format string) *Resolved {
	return &Resolved{
		Name: q.Name, Version: d.version, Arch: q.arch, Source: from,
		URL: d.url, SHA256: d.sha256, Size: d.size,
		format: format, layout: q.layout(format), urls: q.mirrored(d.url),
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

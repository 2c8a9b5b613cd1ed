// Package image builds disk images. The work has two stages: resolve turns a plan into
// pinned inputs, and build turns pinned inputs into partitions.
//
//	board, overlays ─plan→ wishes ─resolve→ lock ─decode→ packages
//	packages ─assembleRoot→ root ─slotRoot→ ─writeRoot→ volume
//	root, and the volume's verity root hash ─assembleBoot→ boot files ─writeBoot→ image
//
// A build needs no privileges and runs no program of the target. It runs at most two kinds
// of host programs: a Go toolchain, if one is installed and a component cannot be
// downloaded, and the credential helper that docker's config.json names for a registry. It
// writes only to the cache and the image's directory; the Go toolchain keeps its own caches.
package image

import (
	"context"
	"errors"

	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/rootfs"
)

// Build makes the image that opt describes and the files beside it. On an error, none of
// them is left half-written.
func Build(ctx context.Context, opt Options) (*Result, error) {
	if opt.Progress == nil {
		opt.Progress = progress.Discard
	}
	if _, err := compress.ParseFormat(opt.Compress); opt.Compress != "" && err != nil {
		return nil, err
	}
	dropped := map[fetch.DamagedError]bool{}
	for {
		result, err := build(ctx, opt)
		var damaged *fetch.DamagedError
		if !errors.As(err, &damaged) {
			return result, cacheOutOfSpace(opt.Cache.Dir(), err)
		}
		// A cache entry turned out to be damaged while it was read: drop it and start
		// again, at most once per entry.
		entry := fetch.DamagedError{Kind: damaged.Kind, Key: damaged.Key}
		if dropped[entry] {
			return nil, err
		}
		dropped[entry] = true
		if err := opt.Cache.Drop(damaged.Kind, damaged.Key); err != nil {
			return nil, err
		}
	}
}

func build(ctx context.Context, opt Options) (*Result, error) {
	watch := newStopwatch()
	p, err := newPlan(opt)
	if err != nil {
		return nil, err
	}
	in, early, err := p.gather(ctx, watch)
	if err != nil {
		return nil, err
	}
	id := inputsDigest(in.lock, in.components)
	r := &Result{Image: opt.Out, Files: p.files(), Warnings: in.hostWarnings, Deferred: in.deferrals()}
	if r.Manifest = p.upToDate(id); r.Manifest != nil {
		r.Unchanged, r.Stages = true, watch.stages
		return r, nil
	}
	pkgs, err := p.fetch(ctx, in, early, watch)
	if err != nil {
		return nil, err
	}
	version := p.imageVersion(in.lock, id)
	root, err := p.assembleRoot(ctx, in, pkgs, version)
	if err != nil {
		return nil, err
	}
	watch.lap("root")
	slot, err := p.slotRoot(ctx, root)
	if err != nil {
		return nil, err
	}
	v, err := p.writeRoot(ctx, in, slot)
	if err != nil {
		return nil, err
	}
	defer v.file.Close()
	watch.lap("pack")
	boot, err := p.assembleBoot(root, in, version, v.verity)
	if err != nil {
		return nil, err
	}
	watch.lap("boot")
	if err := p.writeBoot(ctx, v, in, id, boot); err != nil {
		return nil, err
	}
	watch.lap("write")
	if r.Manifest, err = p.manifest(in, pkgs, slot, v, id, version); err != nil {
		return nil, err
	}
	if err := p.publish(ctx, v, r.Manifest, in.lock); err != nil {
		return nil, outOfSpace(opt.Out, err)
	}
	watch.lap("publish")
	r.Stale, r.Stages = p.stale(), watch.stages
	return r, nil
}

// gather finds packages, components and the digests of container images. If the components
// are not ready when the packages are resolved, packages are decoded meanwhile, and returned as
// early: a component that takes time is usually a new version, so the image has to be built
// anyway.
func (p *plan) gather(ctx context.Context, watch *stopwatch) (in *inputs, early []*deb.Package, err error) {
	if err := prepareOut(p.opt.Out); err != nil { // before minutes of downloads
		return nil, nil, err
	}
	components := begin(ctx, p.findComponents)
	defer components.close()
	images := begin(ctx, p.pinImages)
	defer images.close()
	in, err = p.resolve(ctx)
	if err != nil {
		return nil, nil, err
	}
	watch.lap("resolve")
	if !components.over() {
		if early, err = p.decode(ctx, in.packages, in.lock.Timestamp); err != nil {
			return nil, nil, err
		}
		watch.lap("packages")
	}
	found, err := components.wait()
	if err != nil {
		return nil, nil, err
	}
	in.addComponents(found)
	watch.lap("components")
	if in.refs, err = images.wait(); err != nil {
		return nil, nil, err
	}
	in.lock.Images = lockImages(in.refs)
	watch.lap("digests")
	return in, early, nil
}

// fetch decodes packages, unless gather has, while the container images are downloaded. Build
// calls it only once it knows that something changed: an unchanged build needs no images.
func (p *plan) fetch(ctx context.Context, in *inputs, early []*deb.Package, watch *stopwatch) (pkgs []*deb.Package, err error) {
	images := begin(ctx, func(ctx context.Context) ([]*oci.Image, error) { return p.pullImages(ctx, in.refs) })
	defer images.close()
	if pkgs = early; pkgs == nil {
		if pkgs, err = p.decode(ctx, in.packages, in.lock.Timestamp); err != nil {
			return nil, err
		}
	}
	watch.lap("packages")
	if in.images, err = images.wait(); err != nil {
		return nil, err
	}
	watch.lap("images")
	return pkgs, nil
}

// CheckVersion refuses what cannot be Options.Version: a build does so only once everything
// is downloaded.
func CheckVersion(version string) error { return rootfs.CheckReleaseValue(version) }

// imageVersion is the timestamp of the newest index and the first 8 digits of the inputs'
// digest: it grows with Debian's releases and differs whenever an input differs.
func (p *plan) imageVersion(l *lock.Lock, id string) string {
	if p.opt.Version != "" {
		return p.opt.Version
	}
	return l.Timestamp.UTC().Format("20060102150405") + "-" + id[:8]
}

// Package image builds disk images. It is two straight lines: resolve turns a
// plan into pinned inputs, and build turns pinned inputs into partitions.
//
//	board, overlays ─plan→ wishes ─resolve→ lock ─decode→ packages
//	packages ─assembleRoot→ root ─assembleBoot→ boot files, ─finishRoot→ ─writeImage→ image
//
// It needs no privilege and runs no program of the target or of the host,
// except a Go toolchain where one is there and a component cannot be
// downloaded. It never writes outside the cache and the directory of the image.
package image

import (
	"bytes"
	"context"
	"errors"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/sbom"
)

// Build makes the image that opt describes and the files beside it. Errors
// leave none of them half-written.
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
		// Found while it was read: forget it and start again, each entry once.
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
	if err := prepareOut(opt.Out); err != nil { // before minutes of downloads
		return nil, err
	}
	in, err := p.resolve(ctx)
	if err != nil {
		return nil, err
	}
	watch.lap("resolve")
	id := inputsDigest(in.lock)
	if m := p.upToDate(id); m != nil {
		return &Result{Image: opt.Out, Manifest: m, Files: p.files(), Unchanged: true, Stages: watch.stages}, nil
	}
	pkgs, err := p.decode(ctx, in)
	if err != nil {
		return nil, err
	}
	watch.lap("packages")
	version := p.imageVersion(in.lock, id)
	root, err := p.assembleRoot(ctx, in, pkgs, version)
	if err != nil {
		return nil, err
	}
	watch.lap("root")
	boot, err := p.assembleBoot(root, in, version)
	if err != nil {
		return nil, err
	}
	if err := p.finishRoot(ctx, root); err != nil {
		return nil, err
	}
	watch.lap("boot")
	v, err := p.writeImage(ctx, in, id, root.tree, boot)
	if err != nil {
		return nil, err
	}
	defer v.file.Close()
	watch.lap("write")
	m := p.manifest(in, pkgs, root, v, id, version)
	if err := p.publish(ctx, v, m, in.lock); err != nil {
		return nil, outOfSpace(opt.Out, err)
	}
	watch.lap("publish")
	return &Result{Image: opt.Out, Manifest: m, Files: p.files(), Stale: p.stale(), Stages: watch.stages}, nil
}

// imageVersion is the date of the newest index and the beginning of the
// inputs' digest: it grows with Debian and differs with every input.
func (p *plan) imageVersion(l *lock.Lock, id string) string {
	if p.opt.Version != "" {
		return p.opt.Version
	}
	return l.Timestamp.UTC().Format("20060102150405") + "-" + id[:8]
}

// publish puts everything in place, the image first and the manifest last: a
// manifest that is there vouches for all the rest. Nothing gets its name
// before everything is written.
func (p *plan) publish(ctx context.Context, v *volume, m *manifest.Manifest, l *lock.Lock) error {
	if err := p.writeCompressed(ctx, v); err != nil {
		return err
	}
	list, err := p.documents(v, m, l)
	if err != nil {
		return err
	}
	files := []*atomicfile.File{v.file}
	for _, d := range list {
		f, err := atomicfile.Create(p.opt.Out+d.suffix, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(d.data); err != nil {
			return err
		}
		files = append(files, f)
	}
	for _, f := range files {
		if err := f.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// document is a file beside the image.
type document struct {
	suffix string
	data   []byte
}

// documents returns what lies beside the image, the manifest last.
func (p *plan) documents(v *volume, m *manifest.Manifest, l *lock.Lock) ([]document, error) {
	var bmap bytes.Buffer
	if _, err := v.bmap.WriteTo(&bmap); err != nil {
		return nil, err
	}
	list := []document{{bmapSuffix, bmap.Bytes()}}
	add := func(suffix string, encode func() ([]byte, error)) error {
		data, err := encode()
		list = append(list, document{suffix, data})
		return err
	}
	err := add(lockSuffix, l.Marshal)
	if p.opt.SBOM {
		err = errors.Join(err,
			add(spdxSuffix, func() ([]byte, error) { return sbom.SPDX(m) }),
			add(cycloneDXSuffix, func() ([]byte, error) { return sbom.CycloneDX(m) }))
	}
	return list, errors.Join(err, add(manifestSuffix, m.Encode))
}

func (p *plan) writeCompressed(ctx context.Context, v *volume) error {
	if p.opt.Compress == "" {
		return nil
	}
	format, err := compress.ParseFormat(p.opt.Compress)
	if err != nil {
		return err
	}
	_, err = compress.File(ctx, p.opt.Out+"."+p.opt.Compress, format, v.file, v.layout.Size, p.opt.Progress)
	return err
}

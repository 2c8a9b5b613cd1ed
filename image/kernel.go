package image

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/going-mobile/imagebuilder/image/apt"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/tree"
)

var kernelPackage = regexp.MustCompile(`^linux-image-([0-9].*)$`)

// Kernel is the whole kernel of which an image has a part.
type Kernel struct {
	// Package is Debian's, Release what uname(1) prints.
	Package, Release string
	Drivers          *kmod.Drivers
}

// WholeKernel fetches the kernel that opt.Lock names and reads what each of its
// modules would drive.
func WholeKernel(ctx context.Context, opt Options) (*Kernel, error) {
	p := &plan{opt: opt}
	mirrors, err := p.mirrors(&inputs{})
	if err != nil {
		return nil, err
	}
	for _, pkg := range opt.Lock.Packages {
		m := kernelPackage.FindStringSubmatch(pkg.Name)
		if m == nil {
			continue
		}
		k := &Kernel{Package: pkg.Name, Release: m[1]}
		k.Drivers, err = p.drivers(ctx, k.Release, &apt.Package{
			Name: pkg.Name, Version: pkg.Version, Architecture: pkg.Arch, Filename: pkg.Filename,
			Size: pkg.Size, SHA256: pkg.SHA256, Suite: pkg.Suite, Mirrors: mirrors.For(pkg.Suite)})
		return k, err
	}
	return nil, errors.New("the lock names no kernel")
}

func (p *plan) drivers(ctx context.Context, release string, pkg *apt.Package) (drivers *kmod.Drivers, err error) {
	opt := apt.FetchOptions{Snapshot: p.opt.Lock.Timestamp, Progress: p.opt.Progress}
	err = apt.Fetch(ctx, p.opt.Cache, []*apt.Package{pkg}, opt, func(_ *apt.Package, file *fetch.File) error {
		d, err := deb.Decode(ctx, p.opt.Cache, file, named{p.opt.Progress, pkg.Name})
		if err != nil {
			return err
		}
		t := tree.New()
		for _, n := range d.Nodes {
			if !strings.HasPrefix(n.Path, "usr/lib/modules/") && !n.Mode.IsDir() {
				continue
			}
			if err := t.Add(n); err != nil {
				return err
			}
		}
		drivers, err = kmod.AllDrivers(ctx, t, release, kmod.Options{Remember: p.opt.Cache.Remember})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the kernel that the image was made from: %w", err)
	}
	return drivers, nil
}

package image

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/apt"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// kernelPackages matches the packages that contain a kernel's modules: linux-image-VERSION
// up to 6.18; later linux-modules-VERSION, on which linux-image-VERSION depends.
var kernelPackages = regexp.MustCompile(`^linux-(image|modules)-[0-9]`)

// Kernel is a complete kernel, of which an image carries only some modules.
type Kernel struct {
	// Package is the Debian package with the modules; Release is as uname(1) prints it.
	Package, Release string
	Drivers          *kmod.Drivers
}

// WholeKernel fetches the kernel that opt.Lock names and reads what each of its
// modules would drive.
func WholeKernel(ctx context.Context, opt Options) (*Kernel, error) {
	p := &plan{opt: opt}
	mirrors, _ := p.mirrors() // a warning is of mirrors that are not asked; the packages are pinned
	pkgs := slices.DeleteFunc(lockedPackages(opt.Lock, mirrors), func(pkg *apt.Package) bool { return !kernelPackages.MatchString(pkg.Name) })
	if len(pkgs) == 0 {
		return nil, errors.New("the lock names no kernel")
	}
	k, err := p.wholeKernel(ctx, pkgs)
	if err != nil {
		return nil, fmt.Errorf("the kernel that the image was made from: %w", err)
	}
	return k, nil
}

func (p *plan) wholeKernel(ctx context.Context, pkgs []*apt.Package) (*Kernel, error) {
	decoded, err := p.decode(ctx, pkgs, p.opt.Lock.Timestamp)
	if err != nil {
		return nil, err
	}
	k, t := &Kernel{}, tree.New()
	for _, d := range decoded {
		for _, n := range d.Nodes {
			if !strings.HasPrefix(n.Path, "usr/lib/modules/") {
				continue
			}
			if err := errors.Join(t.MkdirAll(path.Dir(n.Path), n.ModTime, n.Source), t.Add(n)); err != nil {
				return nil, err
			}
			k.Package = d.Name
		}
	}
	if k.Release, err = kernelRelease(t); err != nil {
		return nil, err
	}
	k.Drivers, err = kmod.AllDrivers(ctx, t, k.Release, kmod.Options{Remember: p.opt.Cache.Remember})
	return k, err
}

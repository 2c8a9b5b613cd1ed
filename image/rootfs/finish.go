// Package rootfs turns unpacked Debian packages into the root file system of
// an appliance: it does, as plain functions over a tree, what the packages'
// maintainer scripts would have done in a chroot, and then what makes the root
// read-only: /var empty with a skeleton, homes moved there, units enabled by
// presets, no identity of its own.
//
// It runs no script and asks nothing of the host. It models the scripts of the
// packages that Effects names and no others: whether a package is among them
// is the business of package gate. It does not choose files to leave out, nor
// write kernel module indexes or boot files; other packages do.
//
// A test configures the same packages for real, in a chroot, and compares the
// two roots; see oracle_test.go.
package rootfs

import (
	"context"
	"fmt"
	"time"

	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Input is everything that a root is made of.
type Input struct {
	Arch     string // Debian's name, such as arm64
	Packages []*deb.Package
	Overlays []*overlay.Overlay // each after those it requires
	// Files are laid over all else, with the time of the build.
	Files []*tree.Node
	// Epoch is the date of the build: the time of every generated file and
	// the latest of any other.
	Epoch time.Time
	// ImageID and ImageVersion go to os-release.
	ImageID, ImageVersion string
}

// Finish returns the complete root, which nobody changes any more: whoever
// leaves something out makes a tree of his own. Nodes of the packages are
// shared with it.
func Finish(ctx context.Context, in Input) (*tree.Tree, error) {
	if err := checkArch(in); err != nil {
		return nil, err
	}
	merged, err := mergePackages(in.Packages, in.Epoch)
	if err != nil {
		return nil, err
	}
	s := newState(merged, in)
	steps := []func() error{
		func() error { return layOverlays(s, in.Overlays) },
		func() error { return makeAccounts(s, in.Overlays) },
		func() error { return apply(s, rootEffects) },
		func() error { return apparmorLocals(s) },
		func() error { return etcTmpfiles(s) },
		func() error { return enableUnits(s, in.Overlays) },
		func() error { return describe(s, in) },
		func() error { return dpkgDatabase(s) },
		func() error { return homes(s) },
		func() error { return checkOverlaid(s, in.Overlays) },
		func() error { return varSkeleton(s) },
		func() error { return makeMountPoints(s) },
		func() error { return clampTimes(s) },
		func() error { return layFiles(s, in.Files) },
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s.tree, nil
}

// checkArch refuses packages of another architecture: their programs would
// not start.
func checkArch(in Input) error {
	for _, p := range in.Packages {
		if p.Architecture != in.Arch && p.Architecture != "all" {
			return fmt.Errorf("package %s is for %s, the image for %s", p.Name, p.Architecture, in.Arch)
		}
	}
	return nil
}

// describe writes what a node wants to know about its image.
func describe(s *state, in Input) error {
	return firstError(
		osRelease(s, in.ImageID, in.ImageVersion),
		clockEpoch(s),
		hostname(s),
		modulesLoad(s, in.Overlays),
		writeEtcPersist(s, in.Overlays),
	)
}

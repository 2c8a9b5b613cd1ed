// Package rootfs turns unpacked Debian packages into the root file system of an appliance.
// First it does what the packages' maintainer scripts would have done in a chroot, as plain
// functions over a tree. Then it prepares the root for being read-only: /var is empty but
// has a skeleton, home directories are moved there, units are enabled by presets, and there
// is no machine identity.
//
// It runs no script and asks nothing of the host. It models only the scripts of the
// packages that Effects names; package gate checks that no others are in the image. It does
// not choose files to leave out, nor does it write kernel module indexes or boot files.
//
// A test configures the same packages for real, in a chroot, and compares the two roots;
// see oracle_test.go.
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
	// Files are added last, with the time of the build; nothing else may have their paths.
	Files []*tree.Node
	// Epoch is the date of the build. Generated files get it, and so does any file without
	// a time or with a later one.
	Epoch time.Time
	// ImageID and ImageVersion go to os-release.
	ImageID, ImageVersion string
}

// Finish returns the complete root. It must not be changed, as it shares nodes with the
// packages: to leave something out, make a new tree.
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

// checkArch refuses packages of another architecture, whose programs would not run.
func checkArch(in Input) error {
	for _, p := range in.Packages {
		if p.Architecture != in.Arch && p.Architecture != "all" {
			return fmt.Errorf("package %s is for %s, the image for %s", p.Name, p.Architecture, in.Arch)
		}
	}
	return nil
}

// describe writes the files that tell a node about its image.
func describe(s *state, in Input) error {
	return firstError(
		osRelease(s, in.ImageID, in.ImageVersion),
		clockEpoch(s),
		hostname(s),
		modulesLoad(s, in.Overlays),
		writeEtcPersist(s, in.Overlays),
	)
}

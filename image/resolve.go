package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/apt"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/grub"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/overlay"
)

// archiveComponents are the components of Debian's archive that packages may come from: the
// free system, and the firmware without which some hardware does not work.
var archiveComponents = []string{"main", "non-free-firmware"}

// cutDependencies are not followed: the image has an initramfs of imagebuilder's, and of
// shim and GRUB only the boot programs are wanted, not what installs them or asks for keys.
var cutDependencies = map[string][]string{
	"linux-image-*":         {"linux-initramfs-tool"},
	"shim-signed":           {"debconf", "mokutil", "shim-signed-common", "systemd-boot"},
	"shim-helpers-*-signed": {"shim-unsigned"},
	grub.Package:            {"grub-common", "libdevmapper1.02.1"},
}

// inputs is everything that a build reads, resolved and pinned.
type inputs struct {
	lock       *lock.Lock
	packages   []*apt.Package
	components []*component.Resolved
	refs       []reference.Reference
	images     []*oci.Image // of refs, once they are fetched
	// warnings concern the image and go into its manifest. hostWarnings concern this
	// computer, its network and the given lock; the image may come out the same without
	// them, so they are only printed.
	warnings, hostWarnings []string
}

// resolve turns a plan into pinned packages: those of the given lock, or else those in the
// mirrors' current indexes.
func (p *plan) resolve(ctx context.Context) (*inputs, error) {
	mirrors, warnings := p.mirrors()
	in := &inputs{warnings: p.imageWarnings(), hostWarnings: warnings}
	var err error
	if p.opt.Lock != nil {
		err = p.fromLock(ctx, in, mirrors)
	} else {
		err = p.fromArchive(ctx, in, mirrors)
	}
	if err != nil {
		return nil, err
	}
	if p.opt.Lock != nil && p.opt.Lock.Inputs != "" && p.opt.Lock.Inputs != p.data {
		in.hostWarnings = append(in.hostWarnings, "the board, its overlays or imagebuilder itself differ from those the lock was made with: expect other bytes")
	}
	in.lock.Inputs, in.lock.Overlays = p.data, p.extraOverlays()
	return in, nil
}

// mirrors lists where to get Debian: the mirrors of the options, or else those that the
// host's apt uses, followed by the snapshot archive. The warnings are of what the host's apt
// has that cannot be read.
func (p *plan) mirrors() (given apt.Mirrors, warnings []string) {
	given = apt.Mirrors{Archive: p.opt.Mirrors, Security: p.opt.SecurityMirrors}
	if len(given.Archive) > 0 && len(given.Security) > 0 {
		return given, nil
	}
	host, err := apt.HostMirrors(p.opt.Board.Arch, p.opt.Board.Suite)
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("the host's apt sources: %v", err))
	}
	at := p.opt.Now.Truncate(apt.SnapshotInterval) // other builds find what is at this address in the cache
	if p.opt.Lock != nil {
		at = p.opt.Lock.Timestamp
	}
	found := host.Append(apt.SnapshotMirrors(at))
	if len(given.Archive) == 0 {
		given.Archive = found.Archive
	}
	if len(given.Security) == 0 {
		given.Security = found.Security
	}
	return given, warnings
}

func (p *plan) fromArchive(ctx context.Context, in *inputs, mirrors apt.Mirrors) error {
	var all []apt.Suite
	for _, name := range p.release {
		all = append(all, apt.Suite{Name: name, Mirrors: mirrors.For(name), Components: archiveComponents})
	}
	for _, s := range p.suites {
		all = append(all, apt.Suite{Name: s.Name, Mirrors: mirrors.For(s.Name), Components: archiveComponents, Only: s.Packages})
	}
	archive, err := apt.Load(ctx, p.opt.Cache, all, p.opt.Board.Arch, apt.Options{Now: p.opt.Now, AllowOlder: p.opt.AllowOlderIndex, Progress: p.opt.Progress})
	if err != nil {
		return err
	}
	defer archive.Close()
	if err := p.checkSignedLoaders(archive); err != nil {
		return err
	}
	in.packages, err = archive.Resolve(p.packages, cutDependencies)
	if err != nil {
		return fmt.Errorf("packages of board %s: %w", p.opt.Board.Name, err)
	}
	in.lock = p.newLock(archive.Releases(), in.packages)
	return nil
}

// checkSignedLoaders refuses a suite that lacks the packages that Secure Boot needs.
func (p *plan) checkSignedLoaders(archive *apt.Archive) error {
	b := p.opt.Board
	if b.SecureBoot != board.SignedByDebian {
		return nil
	}
	for _, name := range boot.LoaderPackages(b.Arch, true) {
		versions, err := archive.Versions(name)
		if err != nil {
			return err
		}
		if len(versions) == 0 {
			return fmt.Errorf("board %s: secureBoot: debian needs the package %s, which suite %s does not have; "+
				"take a newer suite, or secureBoot: off and switch Secure Boot off in the machine's setup", b.Name, name, b.Suite)
		}
	}
	return nil
}

func (p *plan) newLock(releases []apt.Release, pkgs []*apt.Package) *lock.Lock {
	l := &lock.Lock{Version: lock.Version, Board: p.opt.Board.Name, Arch: p.opt.Board.Arch}
	for _, r := range releases {
		l.Suites = append(l.Suites, lock.Suite{Name: r.Suite, Date: r.Date.UTC(), InReleaseSHA256: r.SHA256, Components: r.Components})
		if r.Date.After(l.Timestamp) {
			l.Timestamp = r.Date.UTC().Truncate(time.Second)
		}
	}
	for _, pkg := range pkgs {
		l.Packages = append(l.Packages, lock.Package{
			Name: pkg.Name, Version: pkg.Version, Arch: pkg.Architecture, Filename: pkg.Filename,
			Size: pkg.Size, SHA256: pkg.SHA256, Suite: pkg.Suite,
		})
	}
	return l
}

// fromLock takes the packages as the lock lists them.
func (p *plan) fromLock(ctx context.Context, in *inputs, mirrors apt.Mirrors) error {
	l := *p.opt.Lock
	if l.Board != p.opt.Board.Name || l.Arch != p.opt.Board.Arch {
		return fmt.Errorf("the lock is for board %s (%s), not for %s (%s)", l.Board, l.Arch, p.opt.Board.Name, p.opt.Board.Arch)
	}
	if err := p.overlaysOfLock(&l); err != nil {
		return err
	}
	in.packages, in.lock = lockedPackages(&l, mirrors), &l
	if err := p.coveredByLock(in.packages); err != nil {
		return err
	}
	return p.checkLock(ctx, in, mirrors)
}

// extraOverlays are the overlays that the options add to the board's, sorted.
func (p *plan) extraOverlays() []string {
	extra := sortedSet(p.opt.Overlays)
	extra = slices.DeleteFunc(extra, func(name string) bool { return slices.Contains(p.opt.Board.Overlays, name) })
	return append([]string{}, extra...) // never nil
}

// overlaysOfLock refuses a lock that was made with other overlays: unlike the packages, the
// lock has only their names, so that the image would silently lack them, or have more than
// was asked for.
func (p *plan) overlaysOfLock(l *lock.Lock) error {
	if l.Overlays == nil {
		return nil
	}
	var faults []error
	for _, name := range l.Overlays {
		if !slices.ContainsFunc(p.overlays, func(o *overlay.Overlay) bool { return o.Name == name }) {
			faults = append(faults, fmt.Errorf("the lock was made with the overlay %s, which is not asked for: add it to the board's overlays, or use 'imagebuilder build --overlay %s'; or build once without --lock", name, name))
		}
	}
	for _, name := range p.extraOverlays() {
		if !slices.Contains(l.Overlays, name) {
			faults = append(faults, fmt.Errorf("the lock was made without the overlay %s, which is asked for; build once without --lock", name))
		}
	}
	return errors.Join(faults...)
}

// lockedPackages returns a lock's packages, with the mirrors to fetch them from.
func lockedPackages(l *lock.Lock, mirrors apt.Mirrors) (pkgs []*apt.Package) {
	for _, pkg := range l.Packages {
		pkgs = append(pkgs, &apt.Package{
			Name: pkg.Name, Version: pkg.Version, Architecture: pkg.Arch, Filename: pkg.Filename,
			Size: pkg.Size, SHA256: pkg.SHA256, Suite: pkg.Suite, Mirrors: mirrors.For(pkg.Suite),
		})
	}
	return pkgs
}

// checkLock looks the packages up in the signed indexes that the lock names, where those
// can still be fetched: without this check, the packages' digests are only as trustworthy
// as the lock itself.
func (p *plan) checkLock(ctx context.Context, in *inputs, mirrors apt.Mirrors) error {
	for _, s := range in.lock.Suites {
		var pkgs []*apt.Package
		for _, pkg := range in.packages {
			if pkg.Suite == s.Name {
				pkgs = append(pkgs, pkg)
			}
		}
		// The snapshot archive takes a snapshot every six hours, sometimes later.
		all := mirrors.Append(apt.SnapshotMirrors(s.Date.Add(6 * time.Hour))).Append(apt.SnapshotMirrors(s.Date.Add(24 * time.Hour)))
		suite := apt.Suite{Name: s.Name, Mirrors: all.For(s.Name), Components: s.Components}
		err := apt.Recheck(ctx, p.opt.Cache, suite, in.lock.Arch, apt.Release{SHA256: s.InReleaseSHA256, Date: s.Date}, pkgs, apt.Options{Progress: p.opt.Progress})
		switch {
		case errors.As(err, new(*fetch.Error)) && ctx.Err() == nil:
			in.hostWarnings = append(in.hostWarnings, fmt.Sprintf("the %d packages of %s are taken on the lock's word: the index that it names cannot be had any more", len(pkgs), s.Name))
		case fetch.Local(err) || ctx.Err() != nil: // says nothing about the lock
			return err
		case err != nil:
			return fmt.Errorf("the lock does not hold: %w", err)
		}
	}
	return nil
}

// coveredByLock refuses a lock without a package that the board or the options ask for by
// name, version or suite: the image would silently lack it too.
func (p *plan) coveredByLock(locked []*apt.Package) error {
	var missing []error
	for _, want := range p.packages {
		have, ok, err := apt.Granted(want, p.opt.Board.Arch, locked)
		switch {
		case err != nil:
			missing = append(missing, err)
		case have == nil:
			missing = append(missing, fmt.Errorf("the lock has no package %s, which the board, an overlay or --package asks for; build once without --lock", want))
		case !ok:
			missing = append(missing, fmt.Errorf("the lock has %s %s of %s, the board, an overlay or --package asks for %s; build once without --lock", have.Name, have.Version, have.Suite, want))
		}
	}
	return errors.Join(missing...)
}

// inputsDigest hashes everything that determines the image's bytes: the lock, and where the
// node downloads its deferred components.
func inputsDigest(l *lock.Lock, found []*component.Resolved) string {
	h := newDigest()
	h.line("data", l.Inputs)
	h.line("timestamp", l.Timestamp.Unix())
	for _, pkg := range l.Packages {
		h.line(pkg.Name, pkg.Version, pkg.SHA256)
	}
	for _, c := range l.Components {
		h.line(c.Name, c.Version, c.SHA256, c.Deferred)
	}
	for _, c := range found {
		if c.Deferred { // the image contains these URLs, and they depend on ComponentMirror
			h.line("urls", c.Name, c.Entry().URLs)
		}
	}
	for _, c := range l.Images {
		h.line("image", c.Name, c.Digest)
	}
	return h.sum()
}

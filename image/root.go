package image

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/apt"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/payload"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/prune"
	"github.com/going-mobile/imagebuilder/image/rootfs"
	"github.com/going-mobile/imagebuilder/image/rootfs/check"
	"github.com/going-mobile/imagebuilder/image/rootfs/gate"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// firstbootPath is where the firstboot program is installed; overlays link to it.
const firstbootPath = "usr/lib/imagebuilder/firstboot"

// root is a finished root file system that still contains the files that only the boot
// partition needs.
type root struct {
	modules  *kmod.Modules // of the root's only kernel; its Tree is the root
	kernel   string        // release, as uname(1) prints it
	gate     *gate.Report
	warnings []string
}

// slotRoot is the root that is written to a slot: checked, and without the files that the
// boot partition holds.
type slotRoot struct {
	*root
	tree *tree.Tree
}

// decode downloads and decodes every package. Each is decoded as soon as it arrives, the
// largest first: if a kernel came last, one processor would be busy with it while the
// others wait. What no mirror has any more comes from the snapshot of that time.
func (p *plan) decode(ctx context.Context, pkgs []*apt.Package, snapshot time.Time) ([]*deb.Package, error) {
	index := map[*apt.Package]int{}
	for i, pkg := range pkgs {
		index[pkg] = i
	}
	bySize := slices.Clone(pkgs)
	slices.SortStableFunc(bySize, func(a, b *apt.Package) int { return cmp.Compare(b.Size, a.Size) })
	decoded := make([]*deb.Package, len(bySize))
	processors := make(chan struct{}, runtime.GOMAXPROCS(0))
	opt := apt.FetchOptions{Snapshot: snapshot, Progress: p.opt.Progress}
	err := apt.Fetch(ctx, p.opt.Cache, bySize, opt, func(pkg *apt.Package, file *fetch.File) (err error) {
		processors <- struct{}{}
		defer func() { <-processors }()
		decoded[index[pkg]], err = deb.Decode(ctx, p.opt.Cache, file, named{p.opt.Progress, pkg.Name})
		return err
	})
	return decoded, err
}

// named reports progress under the package's name; the file in the cache is named by its
// digest, which tells people nothing.
type named struct {
	progress.Reporter
	name string
}

func (n named) Start(stage, _ string, total int64) progress.Task {
	return n.Reporter.Start(stage, n.name, total)
}

// assembleRoot turns packages, overlays and components into the root.
func (p *plan) assembleRoot(ctx context.Context, in *inputs, pkgs []*deb.Package, version string) (*root, error) {
	report, err := gate.Check(pkgs, p.accept)
	if err != nil {
		return nil, err
	}
	files, err := p.ownFiles(ctx, in)
	if err != nil {
		return nil, err
	}
	finished, err := rootfs.Finish(ctx, rootfs.Input{
		Arch: p.opt.Board.Arch, Packages: pkgs, Overlays: p.overlays, Files: files, Epoch: in.lock.Timestamp,
		ImageID: contract.ImageID(p.opt.Board.Name), ImageVersion: version,
	})
	if err != nil {
		return nil, err
	}
	pruned, unmatched, err := prune.Apply(finished, p.prune)
	if err != nil {
		return nil, err
	}
	if err := p.checkBrought(finished, p.lostToPrune(finished, pruned)); err != nil {
		return nil, err
	}
	if err := rootfs.CheckTrust(finished, pruned); err != nil {
		return nil, err
	}
	r := &root{gate: report, warnings: warnings(report, unmatched)}
	if r.kernel, err = kernelRelease(pruned); err != nil {
		return nil, err
	}
	r.modules, err = kmod.Select(ctx, pruned, r.kernel, p.modules, in.lock.Timestamp, kmod.Options{Remember: p.opt.Cache.Remember})
	if err != nil {
		return nil, fmt.Errorf("kernel modules of board %s: %w", p.opt.Board.Name, err)
	}
	if err := p.checkBrought(pruned, r.modules.Lost); err != nil {
		return nil, err
	}
	for _, name := range r.modules.Riddles() {
		r.warnings = append(r.warnings, fmt.Sprintf("the kernel module %s asks for others by name while it runs: those that the node needs must be named in modules, too", name))
	}
	return r, nil
}

// warnings reports acceptances and prune patterns that have no effect: they are mistakes,
// or a package was renamed.
func warnings(report *gate.Report, unmatched []string) (all []string) {
	for _, name := range report.Unneeded {
		all = append(all, fmt.Sprintf("acceptUnmodelled: %s needs no acceptance", name))
	}
	for _, pattern := range unmatched {
		all = append(all, fmt.Sprintf("prune: %q matches nothing", pattern))
	}
	return all
}

// slotRoot drops the boot partition's files, and checks for what would fail on the node
// although every build step succeeded.
func (p *plan) slotRoot(ctx context.Context, r *root) (*slotRoot, error) {
	t := rootfs.WithoutBootFiles(r.modules.Tree())
	return &slotRoot{r, t}, check.Check(ctx, t, check.Options{Remember: p.opt.Cache.Remember})
}

// ownFiles returns the components' files, the list of components that firstboot reads, the
// container images, and firstboot itself.
func (p *plan) ownFiles(ctx context.Context, in *inputs) ([]*tree.Node, error) {
	files, err := p.archive(ctx, in.images)
	if err != nil {
		return nil, err
	}
	for _, c := range in.components {
		files = append(files, c.Nodes...)
	}
	list, err := component.Manifest(in.components)
	if err != nil {
		return nil, err
	}
	program, err := payload.Program("firstboot", p.opt.Board.Arch)
	if err != nil {
		return nil, err
	}
	own := func(path string, mode fs.FileMode, c tree.Content) *tree.Node {
		return &tree.Node{Path: path, Mode: mode, Content: c, Source: "imagebuilder"}
	}
	return append(files, own(node.ComponentsFile, 0o644, tree.Bytes(list)), own(firstbootPath, 0o755, program)), nil
}

// kernelRelease returns the release of the only kernel in a root; it refuses none or
// several.
func kernelRelease(t *tree.Tree) (string, error) {
	var found []string
	for _, n := range t.Children("usr/lib/modules") {
		if n.Mode&fs.ModeDir != 0 {
			found = append(found, path.Base(n.Path))
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the root has %d kernels (%s), not one; check kernel.package of the board and the packages",
			len(found), strings.Join(found, ", "))
	}
	return found[0], nil
}

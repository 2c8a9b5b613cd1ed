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

// firstbootPath is where the node's service lies; overlays link to it.
const firstbootPath = "usr/lib/imagebuilder/firstboot"

// root is the root file system in the making.
type root struct {
	tree     *tree.Tree
	kernel   string // release, as uname(1) prints it
	modules  *kmod.Modules
	gate     *gate.Report
	warnings []string
}

// decode downloads and decodes every package, each as soon as it arrives and
// the largest first: a kernel that came last would keep one processor busy
// while the others wait.
func (p *plan) decode(ctx context.Context, in *inputs) ([]*deb.Package, error) {
	if in.decoded != nil {
		return in.decoded, nil
	}
	index := map[*apt.Package]int{}
	for i, pkg := range in.packages {
		index[pkg] = i
	}
	bySize := slices.Clone(in.packages)
	slices.SortStableFunc(bySize, func(a, b *apt.Package) int { return cmp.Compare(b.Size, a.Size) })
	decoded := make([]*deb.Package, len(bySize))
	processors := make(chan struct{}, runtime.GOMAXPROCS(0))
	opt := apt.FetchOptions{Snapshot: in.lock.Timestamp, Progress: p.opt.Progress}
	err := apt.Fetch(ctx, p.opt.Cache, bySize, opt, func(pkg *apt.Package, file *fetch.File) (err error) {
		processors <- struct{}{}
		defer func() { <-processors }()
		decoded[index[pkg]], err = deb.Decode(ctx, p.opt.Cache, file, named{p.opt.Progress, pkg.Name})
		return err
	})
	return decoded, err
}

// named reports tasks by a name that people know, where the file in the cache
// is called by its digest.
type named struct {
	progress.Reporter
	name string
}

func (n named) Start(stage, _ string, total int64) progress.Task {
	return n.Reporter.Start(stage, n.name, total)
}

// assembleRoot turns packages, overlays and components into the root. It
// still holds what only the boot partition needs; see finishRoot.
func (p *plan) assembleRoot(ctx context.Context, in *inputs, pkgs []*deb.Package, version string) (*root, error) {
	report, err := gate.Check(pkgs, p.accept)
	if err != nil {
		return nil, err
	}
	t, err := rootfs.Finish(ctx, rootfs.Input{
		Arch: p.opt.Board.Arch, Packages: pkgs, Overlays: p.overlays, Epoch: in.lock.Timestamp,
		ImageID: contract.ImageID(p.opt.Board.Name), ImageVersion: version,
	})
	if err != nil {
		return nil, err
	}
	r := &root{tree: t, gate: report}
	for _, name := range report.Unneeded {
		r.warnings = append(r.warnings, fmt.Sprintf("acceptUnmodelled: %s needs no acceptance", name))
	}
	steps := []func() error{
		func() error { return p.addComponents(r, in) },
		func() error { return p.addFirstboot(r, in) },
		func() error { return p.pruneFiles(r) },
		func() error { return p.kernelModules(ctx, r, in) },
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// finishRoot drops what assembleBoot has put elsewhere, and looks for what
// would fail on the node although every step succeeded.
func (p *plan) finishRoot(ctx context.Context, r *root) error {
	rootfs.TakeBootFiles(r.tree)
	return check.Check(ctx, r.tree, check.Options{Remember: p.opt.Cache.Remember})
}

// addComponents adds the components' files and the list that firstboot reads.
func (p *plan) addComponents(r *root, in *inputs) error {
	for _, c := range in.components {
		for _, n := range c.Nodes {
			n = n.Clone()
			n.ModTime = in.lock.Timestamp
			if err := addWithParents(r.tree, n); err != nil {
				return fmt.Errorf("component %s: %w", c.Name, err)
			}
		}
	}
	list, err := component.Manifest(in.components)
	if err != nil {
		return err
	}
	return addWithParents(r.tree, &tree.Node{
		Path: node.ComponentsFile, Mode: 0o644, ModTime: in.lock.Timestamp, Content: tree.Bytes(list), Source: "imagebuilder",
	})
}

func (p *plan) addFirstboot(r *root, in *inputs) error {
	program, err := payload.Program("firstboot", p.opt.Board.Arch)
	if err != nil {
		return err
	}
	return addWithParents(r.tree, &tree.Node{
		Path: firstbootPath, Mode: 0o755, ModTime: in.lock.Timestamp, Content: program, Source: "imagebuilder",
	})
}

func addWithParents(t *tree.Tree, n *tree.Node) error {
	real, err := t.RealPath(n.Path)
	if err != nil {
		return err
	}
	c := n.Clone()
	c.Path = real
	if err := t.MkdirAll(path.Dir(real), n.ModTime, n.Source); err != nil {
		return err
	}
	return t.Add(c)
}

// pruneFiles drops what the board and its overlays never need. A pattern that
// matches nothing is told: it is a mistake, or a package was renamed.
func (p *plan) pruneFiles(r *root) error {
	unmatched, err := prune.Apply(r.tree, p.prune)
	for _, pattern := range unmatched {
		r.warnings = append(r.warnings, fmt.Sprintf("prune: %q matches nothing", pattern))
	}
	return err
}

// kernelModules keeps the modules that board and overlays ask for and indexes
// them, as depmod would.
func (p *plan) kernelModules(ctx context.Context, r *root, in *inputs) error {
	var err error
	if r.kernel, err = kernelRelease(r.tree); err != nil {
		return err
	}
	r.modules, err = kmod.Open(ctx, r.tree, r.kernel, kmod.Options{Remember: p.opt.Cache.Remember})
	if err != nil {
		return err
	}
	if _, err := r.modules.Prune(p.modules); err != nil {
		return fmt.Errorf("kernel modules of board %s: %w", p.opt.Board.Name, err)
	}
	return r.modules.Depmod(in.lock.Timestamp)
}

// kernelRelease finds the one kernel of a root.
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

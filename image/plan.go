package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/grub"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/payload"
	"github.com/going-mobile/imagebuilder/image/suites"
)

// plan is what the board, its overlays and the options ask for, before any archive is read.
type plan struct {
	opt      Options
	overlays []*overlay.Overlay
	// packages to install, and components to embed, sorted.
	packages, components []string
	// images to carry for k3s, sorted by name.
	images []reference.Reference
	// accept joins the AcceptUnmodelled of overlays and board, and Options.Accept; the
	// later of them win.
	accept map[string]string
	// release is the board's suite with its -updates and -security; suites are those that
	// serve some named packages only.
	release []string
	suites  []suites.Suite
	// modules are the kernel modules to keep; cmdline are the kernel arguments.
	modules, cmdline []string
	prune            []string
	// data is the digest of everything above: the inputs that no lock contains.
	data string
}

func newPlan(opt Options) (*plan, error) {
	b, err := signedBoard(opt)
	if err != nil {
		return nil, err
	}
	opt.Board = b
	p := &plan{opt: opt, accept: map[string]string{}}
	names := append(slices.Clone(b.Overlays), opt.Overlays...)
	if p.overlays, err = overlay.LoadAll(opt.OverlayFS, names); err != nil {
		return nil, fmt.Errorf("board %s: %w", b.Name, err)
	}
	p.packages = append(append(p.packages, b.Packages...), opt.Packages...)
	p.packages = append(p.packages, b.Kernel.Package)
	p.modules = append(slices.Clone(b.Kernel.Initramfs), b.Kernel.Modules...)
	if b.Firmware == board.UEFI {
		p.modules = append(p.modules, boot.EFIModules...)
		p.packages = append(p.packages, boot.LoaderPackages(b.Arch, b.SecureBoot == board.SignedByDebian)...)
	}
	if b.BIOS {
		p.packages = append(p.packages, grub.Package)
	}
	p.cmdline = slices.Clone(b.Kernel.Cmdline)
	p.prune = slices.Clone(b.Prune)
	for _, o := range p.overlays {
		p.packages = append(p.packages, o.Packages...)
		p.components = append(p.components, o.Components...)
		p.modules = append(append(p.modules, o.Modules...), o.ModulesLoad...)
		p.cmdline = append(p.cmdline, o.Cmdline...)
		p.prune = append(p.prune, o.Prune...)
		maps.Copy(p.accept, o.AcceptUnmodelled)
	}
	if p.images, err = overlay.Images(slices.Concat(b.Images, opt.Images), p.overlays); err != nil {
		return nil, fmt.Errorf("images of board %s: %w", b.Name, err)
	}
	if err := errors.Join(p.checkCmdline(), p.checkImages()); err != nil {
		return nil, err
	}
	if err := p.addSuites(); err != nil {
		return nil, err
	}
	maps.Copy(p.accept, b.AcceptUnmodelled)
	maps.Copy(p.accept, opt.Accept)
	p.packages = sortedSet(p.packages)
	p.components = sortedSet(p.components)
	p.data, err = p.digest()
	return p, err
}

// verityModule is what the initramfs needs to mount only the root whose hash is in the
// signed kernel arguments.
const verityModule = "dm-verity"

// signedBoard returns a copy of the board, adjusted to opt.Signer.
func signedBoard(opt Options) (*board.Board, error) {
	b := *opt.Board
	switch {
	case opt.Signer == nil && b.SecureBoot == board.SignedByOwner:
		return nil, fmt.Errorf("board %s: secureBoot: own needs a key: --sign KEY --cert CERTIFICATE", b.Name)
	case opt.Signer == nil:
		return &b, nil
	case b.Firmware != board.UEFI:
		return nil, fmt.Errorf("board %s: its firmware checks no signature; leave --sign out", b.Name)
	}
	b.SecureBoot, b.BIOS = board.SignedByOwner, false
	b.Kernel.Initramfs = append(slices.Clone(b.Kernel.Initramfs), verityModule)
	return &b, nil
}

// checkCmdline refuses kernel arguments that would not reach the kernel.
func (p *plan) checkCmdline() error {
	if !p.opt.Board.BIOS {
		return nil
	}
	if err := boot.CheckBIOSCmdline(strings.Join(p.cmdline, " ")); err != nil {
		return fmt.Errorf("board %s: %w", p.opt.Board.Name, err)
	}
	return nil
}

// addSuites adds the suites of board and overlays, and pins their packages to them.
func (p *plan) addSuites() (err error) {
	b := p.opt.Board
	p.release = []string{b.Suite, b.Suite + "-updates", b.Suite + "-security"}
	if p.suites, err = suites.Add(nil, "board "+b.Name, b.Suites, p.release); err != nil {
		return err
	}
	for _, o := range p.overlays {
		if p.suites, err = suites.Add(p.suites, "overlay "+o.Name, o.Suites, p.release); err != nil {
			return err
		}
	}
	for _, s := range p.suites {
		for _, pkg := range s.Packages {
			p.packages = append(p.packages, pkg+"/"+s.Name)
		}
	}
	return nil
}

func sortedSet(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

// digest hashes the board, the overlays with their files, the embedded programs and the
// options that change the image's bytes.
func (p *plan) digest() (string, error) {
	h := newDigest()
	h.json(withoutNotes(*p.opt.Board))
	for _, o := range p.overlays {
		bare := *o
		bare.Files = nil
		h.json(bare)
		h.tree(o.Files)
	}
	for _, name := range []string{"init", "firstboot"} {
		content, err := payload.Program(name, p.opt.Board.Arch)
		if err != nil {
			return "", err
		}
		h.line(name, content.SHA256())
	}
	h.json(p.packages)
	h.json(p.accept)
	h.line("version", p.opt.Version)
	if s := p.opt.Signer; s != nil {
		h.line("signer", s.Fingerprint())
	}
	return h.sum(), nil
}

// withoutNotes drops the fields that document the hardware and do not reach the image: a
// corrected checklist, or a machine that was seen booting, must not cause a new image.
func withoutNotes(b board.Board) board.Board {
	b.Label, b.Checklist, b.Booted, b.Untested = board.Label{}, board.Checklist{}, nil, nil
	return b
}

func encodeJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("a plain struct does not marshal: %v", err)) // impossible: no cycles, channels or functions
	}
	return data
}

package image

import (
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/grub"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/payload"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// bootFiles is everything that a machine boots from.
type bootFiles struct {
	tree *tree.Tree   // content of the boot partition
	bios *grub.Loader // nil if the board does not boot by BIOS
	raw  []rawFile    // files outside of all partitions
}

// assembleBoot makes the boot files from the root. With a signer, they also authenticate the
// root in the slot: v is its dm-verity root hash, nil without a signer.
func (p *plan) assembleBoot(r *root, in *inputs, version string, v *contract.Verity) (*bootFiles, error) {
	input, err := p.bootInput(r, in, version, v)
	if err != nil {
		return nil, err
	}
	files := &bootFiles{}
	if files.raw, err = rawFiles(p.opt.Board, input.Root); err != nil {
		return nil, err
	}
	if p.opt.Board.Firmware == board.RaspberryPi {
		files.tree, err = boot.RaspberryPi(input)
		return files, err
	}
	if files.tree, err = boot.ESP(input); err != nil || !input.BIOS {
		return files, err
	}
	files.bios, err = boot.BIOSLoader(input)
	return files, err
}

func (p *plan) bootInput(r *root, in *inputs, version string, v *contract.Verity) (input boot.Input, err error) {
	b := p.opt.Board
	layout, err := p.layout()
	if err != nil {
		return input, err
	}
	init, err := payload.Program("init", b.Arch)
	if err != nil {
		return input, err
	}
	input = boot.Input{
		Board: b.Name, Title: b.Title, ImageVersion: version, Arch: b.Arch,
		Root: r.modules.Tree(), Kernel: r.kernel, Init: init,
		Modules: b.Kernel.Initramfs, Closure: r.closure,
		Cmdline: p.cmdline, Microcode: b.Kernel.Microcode,
		DiskID: strings.ToLower(layout.ID), SlotSize: int64(b.Disk.Slot), Verity: v, Epoch: in.lock.Timestamp,
	}
	if b.Firmware == board.UEFI {
		input.Signed, input.BIOS, input.Owner = b.SecureBoot == board.SignedByDebian, b.BIOS, p.opt.Signer
		return input, nil
	}
	input.Pi = &boot.Pi{Config: b.Pi.Config, Firmware: b.Pi.Firmware, Starters: b.Pi.Starters(), DeviceTrees: b.Pi.DeviceTrees}
	return input, nil
}

// closure lists the modules and their dependencies in load order.
func (r *root) closure(names []string) ([]kmod.Module, error) {
	modules, err := r.modules.Closure(names)
	if err != nil {
		return nil, fmt.Errorf("modules of the initramfs: %w", err)
	}
	return modules, nil
}

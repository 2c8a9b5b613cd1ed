package image

import (
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/payload"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// assembleBoot makes the files of the boot partition from the root.
func (p *plan) assembleBoot(r *root, in *inputs, version string) (*tree.Tree, error) {
	b := p.opt.Board
	layout, err := p.layout()
	if err != nil {
		return nil, err
	}
	init, err := payload.Program("init", b.Arch)
	if err != nil {
		return nil, err
	}
	input := boot.Input{
		Board: b.Name, Title: b.Title, ImageVersion: version, Arch: b.Arch,
		Root: r.modules.Tree(), Kernel: r.kernel, Init: init,
		Modules: b.Kernel.Initramfs, Closure: r.closure,
		Cmdline: p.cmdline, Microcode: b.Kernel.Microcode,
		DiskID: strings.ToLower(layout.ID), SlotSize: int64(b.Disk.Slot), Epoch: in.lock.Timestamp,
	}
	if b.Firmware == board.UEFI {
		input.Signed = b.SecureBoot == board.SignedByDebian
		return boot.ESP(input)
	}
	input.Pi = &boot.Pi{Config: b.Pi.Config, Firmware: b.Pi.Firmware, Starters: b.Pi.Starters(), DeviceTrees: b.Pi.DeviceTrees}
	return boot.RaspberryPi(input)
}

// closure lists modules with their dependencies, in the order of loading.
func (r *root) closure(names []string) ([]kmod.Module, error) {
	modules, err := r.modules.Closure(names)
	if err != nil {
		return nil, fmt.Errorf("modules of the initramfs: %w", err)
	}
	return modules, nil
}

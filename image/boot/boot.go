// Package boot makes what stands on an image's FAT partition: for UEFI
// machines systemd-boot and, per slot, a unified kernel image or Debian's signed
// kernel with its initramfs; for PCs with a BIOS GRUB besides, whose first stage
// lies outside of it (BIOSLoader); for the Raspberry Pi its firmware, U-Boot with
// a script that chooses the slot, and a kernel with its initramfs. All of it comes
// from a finished root's tree and from data of the board.
//
// It writes no file system and runs no program. It refuses input that would
// make an image that does not start: a missing kernel, a stub without room
// for sections, a config.txt that the firmware would not understand.
package boot

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// source names this package in the nodes it makes.
const source = "boot"

// Input is what a boot partition is made from.
type Input struct {
	// Board, Title and ImageVersion name the image.
	Board, Title, ImageVersion string
	// Arch is Debian's name of the architecture.
	Arch string
	// Root holds the kernel (boot/vmlinuz-KERNEL), its modules and device
	// trees, and the files of LoaderPackages, grub.Package, raspi-firmware,
	// u-boot-rpi, intel-microcode and amd64-microcode as far as the board needs them. The node
	// itself needs none of the latter: drop them from the root afterwards.
	Root *tree.Tree
	// Kernel is the release, as uname -r prints it.
	Kernel string
	// Init is the static program that becomes PID 1 of the initramfs.
	Init tree.Content
	// Modules of the initramfs, the watchdog's first.
	Modules []string
	// Closure finds modules and their dependencies in the order of loading.
	Closure func(names []string) ([]kmod.Module, error)
	// Cmdline holds the board's and the overlays' kernel arguments.
	Cmdline []string
	// Microcode lists patterns (path.Match) of file names below
	// usr/lib/firmware/intel-ucode and amd-ucode that go before the initramfs,
	// such as "06-9e-*"; "*" takes all, which are 21 MB.
	Microcode []string
	// DiskID is the GUID of the disk or, on MBR, its signature, in lower
	// case. An update keeps it: the kernel finds its disk by it.
	DiskID string
	// SlotSize in bytes is what first boot makes root-a and root-b.
	SlotSize int64
	// Verity is what the root must be. It goes with Owner: what nobody signs says
	// nothing.
	Verity *contract.Verity
	// Epoch is the time of the build; no node's clock may be earlier.
	Epoch time.Time
	// Signed takes the boot loaders and the kernel as Debian signed them, where
	// else a unified kernel image is made.
	Signed bool
	// Owner signs systemd-boot and the unified kernel image, nil for nobody; without
	// Signed.
	Owner *authenticode.Signer
	// BIOS adds what GRUB reads where a PC's BIOS started it, see BIOSLoader. It
	// goes with Signed.
	BIOS bool
	// Pi is set for the Raspberry Pi.
	Pi *Pi
}

// Pi is what only the Raspberry Pi has.
type Pi struct {
	// Config holds the board's lines of config.txt.
	Config []string
	// Firmware lists files of usr/lib/raspi-firmware.
	Firmware []string
	// Starters are those of them without which it does not start.
	Starters []string
	// DeviceTrees lists files of the kernel package, as "broadcom/NAME.dtb".
	DeviceTrees []string
}

// watchdog arms the hardware from the initramfs on; systemd reads the
// same argument and takes over. The Pi's counter ends at 15 s and is fed in
// between by the kernel.
const watchdog = time.Minute

// cmdline returns the kernel arguments of a slot ("a" or "b").
func (in Input) cmdline(slot string) string {
	args := contract.Args{Slot: slot, DiskID: in.DiskID, SlotSize: in.SlotSize, Watchdog: watchdog, Verity: in.Verity}
	return strings.Join(append(slices.Clone(in.Cmdline), args.Encode(), noGPTAuto), " ")
}

// Nothing on the disk is mounted but what the initramfs found: systemd's
// generator would mount the ESP a second time, and another disk with the same
// partition types must not become /var or swap.
const noGPTAuto = "systemd.gpt_auto=0"

func (in Input) title() string {
	if in.Title != "" {
		return in.Title
	}
	return in.Board
}

// ReadmeFile tells whoever opens the card on a laptop what it is.
const ReadmeFile = "README.txt"

// addCommon puts the files on t that every boot partition has.
func (in Input) addCommon(t *tree.Tree) error {
	label, err := contract.Label{
		Version: 1, Board: in.Board, Arch: in.Arch, ImageVersion: in.ImageVersion, Kernel: in.Kernel, DiskID: in.DiskID,
		SlotMiB: in.SlotSize >> 20, Slots: contract.Slots, NodeFile: node.FileName, NodeFileSize: node.ReservedSize,
		Signed: in.Signed, Storage: contract.Storage,
	}.Encode()
	if err != nil {
		return err
	}
	f := files{t: t, epoch: in.Epoch}
	// As long as it may ever be: the FAT writer lays each file in one run of
	// clusters, and these are overwritten where they are.
	f.add(node.FileName, tree.String(strings.Repeat("\n", node.ReservedSize)))
	f.add(node.StatusFile, tree.Bytes(node.PadStatus([]byte("This node was never started.\r\n"))))
	f.add(contract.ReportFile, tree.Bytes(contract.PadReport([]byte("This node was never started.\r\n"))))
	f.add(contract.StageFile, tree.Bytes(contract.Stage{Reached: "It was never started, or its start did not come as far as a boot loader that writes here."}.Encode()))
	f.add(contract.LabelFile, tree.Bytes(label))
	f.add(ReadmeFile, tree.String(readme(in)))
	return f.err
}

// files adds files to a tree and remembers the first error.
type files struct {
	t     *tree.Tree
	epoch time.Time
	err   error
}

func (f *files) add(p string, c tree.Content) { f.addMode(p, 0o644, c) }

func (f *files) addMode(p string, mode uint32, c tree.Content) {
	if f.err != nil {
		return
	}
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		f.err = f.t.MkdirAll(p[:i], f.epoch, source)
	}
	if f.err == nil {
		f.err = f.t.Add(&tree.Node{Path: p, Mode: fsMode(mode), ModTime: f.epoch, Content: c, Source: source})
	}
}

// content returns the file p of the root, following links.
func (in Input) content(p, hint string) (tree.Content, error) {
	n, err := in.Root.Resolve(p)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, hint)
	}
	if n.IsHardLink() {
		n = in.Root.Get(n.Link)
	}
	if n.Content == nil {
		return nil, fmt.Errorf("/%s is not a file (%s)", p, hint)
	}
	return n.Content, nil
}

// read returns the whole of the file p of the root.
func (in Input) read(p, hint string) ([]byte, error) {
	c, err := in.content(p, hint)
	if err != nil {
		return nil, err
	}
	return readAll(p, c)
}

func readAll(p string, c tree.Content) ([]byte, error) {
	r, err := c.Open()
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", p, err)
	}
	defer r.Close()
	b := make([]byte, c.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("/%s: %w", p, err)
	}
	return b, nil
}

// kernelPath is where Debian's kernels are: up to 6.12 and from 7.x on.
func (in Input) kernelPath() string {
	split := "usr/lib/modules/" + in.Kernel + "/vmlinuz"
	if _, err := in.content(split, ""); err == nil {
		return split
	}
	return "boot/vmlinuz-" + in.Kernel
}

func (in Input) kernel() ([]byte, error) {
	return in.read(in.kernelPath(), "the kernel package brings it")
}

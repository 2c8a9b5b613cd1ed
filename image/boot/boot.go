// Package boot makes the content of an image's FAT boot partition. For UEFI machines that
// is systemd-boot and, per slot, a unified kernel image or Debian's signed kernel with its
// initramfs. For PCs with a BIOS it also adds GRUB, whose first stage is outside of the
// partition (BIOSLoader). For the Raspberry Pi it is the firmware, U-Boot with a script
// that chooses the slot, and a kernel with its initramfs. The input is a finished root's
// tree and the board's data.
//
// It writes no file system and runs no program. It refuses input that would make an image
// that does not boot: a missing kernel, a stub without room for sections, a config.txt that
// the firmware would not understand.
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

// source is the Source of the nodes that this package makes.
const source = "boot"

// Input is what a boot partition is made from.
type Input struct {
	// Board, Title and ImageVersion name the image.
	Board, Title, ImageVersion string
	// Arch is Debian's name of the architecture.
	Arch string
	// Root holds the kernel (kernelPath), its modules and device trees, and the files of
	// LoaderPackages, grub.Package, raspi-firmware, u-boot-rpi, intel-microcode and
	// amd64-microcode, as far as the board needs them. A running node needs none of these
	// packages' files: remove them from the root afterwards.
	Root *tree.Tree
	// Kernel is the kernel's release, as uname -r prints it.
	Kernel string
	// Init is the static program that becomes PID 1 of the initramfs.
	Init tree.Content
	// Modules are the modules of the initramfs, the watchdog's first.
	Modules []string
	// Closure returns modules and their dependencies in load order.
	Closure func(names []string) ([]kmod.Module, error)
	// Cmdline holds the board's and the overlays' kernel arguments.
	Cmdline []string
	// Microcode lists path.Match patterns of file names below usr/lib/firmware/intel-ucode
	// and amd-ucode. Matching files are placed before the initramfs. Examples: "06-9e-*";
	// "*" matches all, which are 21 MB.
	Microcode []string
	// DiskID is the disk's GUID or, on MBR, its signature, in lower case. An update keeps
	// it, because the kernel finds its disk by it.
	DiskID string
	// SlotSize, in bytes, is the size to which first boot sets root-a and root-b.
	SlotSize int64
	// Verity is the root hash by which dm-verity verifies the root; it goes into the kernel
	// arguments. It is set together with Owner: in unsigned arguments it would prove nothing.
	Verity *contract.Verity
	// Epoch is the time of the build; a node's clock is never set earlier.
	Epoch time.Time
	// Signed uses Debian's signed boot loaders and kernel. Otherwise a unified kernel image
	// is made.
	Signed bool
	// Owner signs systemd-boot and the unified kernel image; nil leaves them unsigned. It
	// excludes Signed.
	Owner *authenticode.Signer
	// BIOS adds the files that GRUB reads when a PC's BIOS has started it, see BIOSLoader.
	// It requires Signed.
	BIOS bool
	// Pi is set for the Raspberry Pi.
	Pi *Pi
}

// Pi is the part of Input that only the Raspberry Pi has.
type Pi struct {
	// Config holds the board's lines of config.txt.
	Config []string
	// Firmware lists files of usr/lib/raspi-firmware.
	Firmware []string
	// Starters lists the names of those Firmware files without which the board does not
	// start.
	Starters []string
	// DeviceTrees lists device trees of the kernel package, such as "broadcom/NAME.dtb".
	DeviceTrees []string
}

// watchdog is the timeout that the initramfs sets; systemd reads the same argument and
// takes over. The Pi's counter ends at 15 s, so the kernel feeds it in between.
const watchdog = time.Minute

// cmdline returns the kernel arguments of a slot ("a" or "b").
func (in Input) cmdline(slot string) string {
	args := contract.Args{Slot: slot, DiskID: in.DiskID, SlotSize: in.SlotSize, Watchdog: watchdog, Verity: in.Verity}
	return strings.Join(append(slices.Clone(in.Cmdline), args.Encode(), noGPTAuto), " ")
}

// noGPTAuto keeps systemd from mounting anything that the initramfs did not find: its
// generator would mount the ESP a second time, and another disk with the same partition
// types must not become /var or swap.
const noGPTAuto = "systemd.gpt_auto=0"

func (in Input) title() string {
	if in.Title != "" {
		return in.Title
	}
	return in.Board
}

// readmeFile explains the card to people who open it on a laptop.
const readmeFile = "README.txt"

// addCommon adds the files that every boot partition has.
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
	// These files have their maximum size from the start: the FAT writer puts each file
	// into contiguous clusters, which are later overwritten in place.
	f.add(node.FileName, tree.String(strings.Repeat("\n", node.ReservedSize)))
	f.add(node.StatusFile, tree.Bytes(node.PadStatus([]byte("This node was never started.\r\n"))))
	f.add(contract.ReportFile, tree.Bytes(contract.PadReport([]byte("This node was never started.\r\n"))))
	f.add(contract.StageFile, tree.Bytes(contract.Stage{Reached: "It was never started, or its start did not come as far as a boot loader that writes here."}.Encode()))
	f.add(contract.LabelFile, tree.Bytes(label))
	f.add(readmeFile, tree.String(readme(in)))
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

// content returns the file p of the root, following links. hint completes the error.
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

// read returns the content of the file p of the root.
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

// kernelPath is where Debian's kernel package puts the kernel: below boot up to 6.12,
// beside the modules from 7.x on.
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

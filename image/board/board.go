// Package board reads boards, which describe hardware in plain YAML files. It refuses
// unknown fields and values that no image could be built from.
//
// A board is only data. There are no templates, no conditions and no inheritance between
// boards; the software that several boards share is in overlays.
package board

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/suites"
)

// Firmware says how a board starts its kernel.
type Firmware string

const (
	// UEFI boards boot systemd-boot and, per slot, a unified kernel image or a
	// signed kernel from an EFI system partition on a GPT disk.
	UEFI Firmware = "uefi"
	// RaspberryPi boards boot the Pi's own firmware, then U-Boot, from the
	// first FAT partition of an MBR disk.
	RaspberryPi Firmware = "raspberrypi"
)

// SecureBoot says who signs the boot files of a UEFI board.
type SecureBoot string

const (
	// SignedByDebian boots Debian's kernel through Debian's shim and systemd-boot, all with
	// the signatures that they are shipped with. It works on machines that have Microsoft's
	// keys, as nearly all do.
	SignedByDebian SecureBoot = "debian"
	// SignedByOwner boots a unified kernel image through systemd-boot. Both are signed with
	// the owner's key when the image is built, and start on machines that have this key.
	SignedByOwner SecureBoot = "own"
	// Unsigned boots only with Secure Boot off; an empty field means the same.
	Unsigned SecureBoot = "off"
)

// Board is one board file.
type Board struct {
	// Version of the schema: 1.
	Version int `yaml:"version"`
	// Name is the name of the file without .yaml.
	Name string `yaml:"name"`
	// Title is the name that people use for the hardware.
	Title string `yaml:"title"`
	// Arch is Debian's name of the architecture: amd64 or arm64.
	Arch string `yaml:"arch"`
	// Firmware is uefi or raspberrypi.
	Firmware Firmware `yaml:"firmware"`
	// SecureBoot is debian, own or off; UEFI boards only.
	SecureBoot SecureBoot `yaml:"secureBoot"`
	// BIOS makes an image that a PC can start by BIOS, through GRUB, as well as by UEFI.
	BIOS bool `yaml:"bios"`
	// Suite is the Debian release, such as trixie.
	Suite string `yaml:"suite"`
	// Memory, in bytes, is that of the smallest of these machines, where most have too little
	// for a server. With 0, most have enough, and a node's own size tells of the others.
	Memory Size `yaml:"memory" json:"-"`
	// Kernel is the kernel to boot, with its modules.
	Kernel Kernel `yaml:"kernel"`
	// Packages are what this hardware needs in addition to its overlays' packages.
	Packages []string `yaml:"packages"`
	// Suites are other suites for named packages that are too old in Suite.
	Suites []suites.Suite `yaml:"suites"`
	// Overlays names the overlays, which are the node's software.
	Overlays []string `yaml:"overlays"`
	// Images are container images to include, which k3s then needs no registry for.
	Images []string `yaml:"images"`
	// Prune lists patterns of files that this hardware never needs.
	Prune []string `yaml:"prune"`
	// Disk holds the sizes of the partitions.
	Disk Disk `yaml:"disk"`
	// Pi is set for raspberrypi boards only.
	Pi *Pi `yaml:"raspberrypi"`
	// QEMU says how to emulate the board.
	QEMU QEMU `yaml:"qemu"`
	// Label is for people who plug the machine in.
	Label Label `yaml:"label"`
	// Checklist is what people set in the machine's BIOS.
	Checklist Checklist `yaml:"checklist"`
	// Booted lists the machines on which an image was seen running.
	Booted []Booted `yaml:"booted"`
	// Untested lists what could not be tested without the machine.
	Untested []string `yaml:"untested"`
	// AcceptUnmodelled maps a package to the reason why its maintainer
	// scripts may be ignored; it is recorded in the manifest.
	AcceptUnmodelled map[string]string `yaml:"acceptUnmodelled"`
}

// Kernel is a Debian kernel and how to start it.
type Kernel struct {
	// Package is the meta package, such as linux-image-arm64.
	Package string `yaml:"package"`
	// Cmdline holds the kernel arguments, except those of the slot.
	Cmdline []string `yaml:"cmdline"`
	// Initramfs lists the modules that find and mount the disk, the watchdog's first; their
	// soft and hard dependencies are added.
	Initramfs []string `yaml:"initramfs"`
	// Modules lists names, globs and directories ("kernel/net/netfilter/") of modules that
	// stay in the root, in addition to those of the overlays and the initramfs.
	Modules []string `yaml:"modules"`
	// Microcode lists files of intel-microcode and amd64-microcode, as globs,
	// for the early cpio before the initramfs.
	Microcode []string `yaml:"microcode"`
}

// Disk holds partition sizes, such as "256MiB".
type Disk struct {
	// Boot is the size of the FAT partition.
	Boot Size `yaml:"boot"`
	// Slot is the size of root-a and of root-b on the node. The image ends where the
	// content of root-a ends; first boot enlarges the partition.
	Slot Size `yaml:"slot"`
	// Raw are files outside of all partitions. Without any, the first partition begins
	// earlier.
	Raw []Raw `yaml:"raw" json:",omitempty"`
}

// Pi is what the Raspberry Pi's firmware needs.
type Pi struct {
	// SoC is the processor, which determines the starter files; "" means bcm2711.
	SoC string `yaml:"soc"`
	// Config holds the lines of config.txt, without kernel=.
	Config []string `yaml:"config"`
	// DeviceTrees are the .dtb files of the supported models.
	DeviceTrees []string `yaml:"deviceTrees"`
	// Firmware lists files of raspi-firmware to put on the FAT.
	Firmware []string `yaml:"firmware"`
}

// QEMU describes the emulation of a board.
type QEMU struct {
	// Machine is QEMU's machine type: q35, virt, raspi3b, raspi4b.
	Machine string `yaml:"machine"`
	// CPU is QEMU's CPU model under TCG.
	CPU string `yaml:"cpu"`
	// Memory in QEMU's notation, such as 2G.
	Memory string `yaml:"memory"`
	// Drive and Network are QEMU's devices, such as e1000e, if the board has others than
	// virtio's.
	Drive   string `yaml:"drive"`
	Network string `yaml:"network"`
}

// UnknownError says that there is no board of that name. Nearest is a similar name or "".
type UnknownError struct {
	Name    string
	Nearest string
	Known   []string
}

func (e *UnknownError) Error() string {
	msg := fmt.Sprintf("unknown board %q", e.Name)
	if e.Nearest != "" {
		msg += fmt.Sprintf("; did you mean %q?", e.Nearest)
	}
	return msg + " (boards: " + strings.Join(e.Known, ", ") + "; add your own with --boards DIR)"
}

// Dir is a directory with a user's own boards. It is an fs.FS whose path is named in
// errors.
type Dir string

// Open opens a file of the directory.
func (d Dir) Open(name string) (fs.File, error) { return os.DirFS(string(d)).Open(name) }

// Load reads the board called name from the first file system that has it, so that a user's
// board can replace a built-in one.
func Load(name string, from ...fs.FS) (*Board, error) {
	for _, fsys := range from {
		file := name + ".yaml"
		data, err := fs.ReadFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			continue
		}
		if d, ok := fsys.(Dir); ok {
			file = filepath.Join(string(d), file)
		}
		if err != nil {
			return nil, fmt.Errorf("read board %s: %w", file, err)
		}
		return parse(file, name, data)
	}
	known := Names(from...)
	return nil, &UnknownError{Name: name, Nearest: nearest.Name(name, known), Known: known}
}

// Names lists the boards in the file systems, sorted.
func Names(from ...fs.FS) []string {
	var names []string
	for _, fsys := range from {
		files, _ := fs.Glob(fsys, "*.yaml")
		for _, f := range files {
			names = append(names, strings.TrimSuffix(path.Base(f), ".yaml"))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func parse(file, name string, data []byte) (*Board, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	var b Board
	if err := doc.Decode(&b); err != nil {
		return nil, err
	}
	if field, problem := b.problem(name); problem != "" {
		return nil, doc.Errorf(strings.Split(field, "."), "%s", problem)
	}
	return &b, nil
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)

// problem returns the first field with a value that its type allows but a board must not
// have, and what to do about it.
func (b *Board) problem(name string) (field, problem string) {
	switch {
	case b.Version == 0:
		return "version", "is missing; write version: 1"
	case b.Version != 1:
		return "version", fmt.Sprintf("%d is not supported; this program reads version 1", b.Version)
	case b.Name != name || !namePattern.MatchString(b.Name):
		return "name", fmt.Sprintf("%q must equal the file's name and consist of a-z, 0-9 and -", b.Name)
	case b.Title == "":
		return "title", "is missing"
	case b.Arch != "amd64" && b.Arch != "arm64":
		return "arch", oneOf(b.Arch, []string{"amd64", "arm64"})
	case b.Firmware != UEFI && b.Firmware != RaspberryPi:
		return "firmware", oneOf(string(b.Firmware), []string{string(UEFI), string(RaspberryPi)})
	case b.Suite == "":
		return "suite", "is missing; name a Debian release such as trixie"
	case strings.Contains(b.Suite, "-"):
		release, _, _ := strings.Cut(b.Suite, "-")
		return "suite", fmt.Sprintf("%s is no release: it has no security updates of its own; write suite: %s, and name packages of %s in suites:", b.Suite, release, b.Suite)
	case len(b.Overlays) == 0:
		return "overlays", "name at least one, such as base"
	case b.Pi != nil && b.Firmware != RaspberryPi:
		return "raspberrypi", "goes with firmware: raspberrypi only"
	case b.Pi == nil && b.Firmware == RaspberryPi:
		return "firmware", "raspberrypi needs the field raspberrypi as well"
	}
	if problem := b.SecureBoot.problem(b.Firmware); problem != "" {
		return "secureBoot", problem
	}
	if problem := b.biosProblem(); problem != "" {
		return "bios", problem
	}
	if field, problem := suites.Problem(b.Suites); problem != "" {
		return "suites." + field, problem
	}
	if i, err := reference.Problem(b.Images); err != nil {
		return fmt.Sprintf("images.%d", i), err.Error()
	}
	if field, problem := b.Kernel.problem(); problem != "" {
		return "kernel." + field, problem
	}
	if field, problem := b.Pi.problem(); problem != "" {
		return "raspberrypi." + field, problem
	}
	if field, problem := b.Disk.problem(); problem != "" {
		return "disk." + field, problem
	}
	if field, problem := b.rawProblem(); problem != "" {
		return "disk." + field, problem
	}
	if field, problem := b.QEMU.problem(); problem != "" {
		return "qemu." + field, problem
	}
	if field, problem := b.Label.problem(); problem != "" {
		return "label." + field, problem
	}
	if field, problem := b.Checklist.problem(); problem != "" {
		return "checklist." + field, problem
	}
	return b.bootedProblem()
}

func (s SecureBoot) problem(f Firmware) string {
	switch {
	case s == "":
		return ""
	case f != UEFI:
		return "goes with firmware: uefi only"
	}
	return oneOf(string(s), []string{string(SignedByDebian), string(SignedByOwner), string(Unsigned)})
}

// biosProblem restricts bios to secureBoot: debian. GRUB starts a kernel with an initramfs
// beside it. If the image also had both in a unified kernel image, every update would write
// twice as much.
func (b *Board) biosProblem() string {
	switch {
	case !b.BIOS:
		return ""
	case b.Firmware != UEFI || b.Arch != "amd64":
		return "goes with firmware: uefi and arch: amd64 only: no other machine has a BIOS"
	case b.SecureBoot != SignedByDebian:
		return "needs secureBoot: debian: otherwise kernel and initramfs are one file, which only UEFI starts. Such an image starts where Secure Boot is off, too"
	}
	return ""
}

func (k Kernel) problem() (field, problem string) {
	switch {
	case k.Package == "":
		return "package", "is missing; name Debian's kernel, such as linux-image-arm64"
	case len(k.Initramfs) == 0:
		return "initramfs", "is missing; list the modules that find and mount the disk"
	}
	return "", ""
}

func (d Disk) problem() (field, problem string) {
	if d.Boot < 64<<20 || d.Boot > 4<<30 || d.Boot%(1<<20) != 0 {
		return "boot", fmt.Sprintf("%v must be whole MiB between 64MiB and 4GiB", d.Boot)
	}
	if d.Slot < 256<<20 || d.Slot > 64<<30 || d.Slot%(4<<20) != 0 {
		return "slot", fmt.Sprintf("%v must be a multiple of 4MiB between 256MiB and 64GiB", d.Slot)
	}
	return "", ""
}

// IsPi reports whether the machine is one of QEMU's Raspberry Pis, which have a card, a USB
// network adapter and a watchdog that must not be armed.
func (q QEMU) IsPi() bool { return strings.HasPrefix(q.Machine, "raspi") }

func (q QEMU) problem() (field, problem string) {
	if q.IsPi() && q.Drive != "" {
		return "drive", q.Machine + " has its own"
	}
	if q.IsPi() && q.Network != "" {
		return "network", q.Machine + " has its own"
	}
	return "", ""
}

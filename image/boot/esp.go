package boot

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// efiNames are the names that UEFI and systemd use for an architecture.
var efiNames = map[string]struct{ removable, suffix string }{
	"amd64": {contract.EFIBootAMD64, "x64"},
	"arm64": {contract.EFIBootARM64, "aa64"},
}

const (
	efiDir        = "usr/lib/systemd/boot/efi/"
	loaderPackage = "systemd-boot-efi"
)

// ESP returns the EFI system partition of a new image: slot a, and the boot loaders under
// the names that firmware looks for on any disk. It has no random seed, which would be the
// same on every node.
func ESP(in Input) (*tree.Tree, error) {
	t, err := esp(in)
	if err != nil {
		return nil, fmt.Errorf("EFI system partition: %w", err)
	}
	return t, nil
}

func esp(in Input) (*tree.Tree, error) {
	if _, ok := efiNames[in.Arch]; !ok {
		return nil, fmt.Errorf("no EFI names are known for architecture %q", in.Arch)
	}
	t := tree.New()
	if err := in.addCommon(t); err != nil {
		return nil, err
	}
	f := &files{t: t, epoch: in.Epoch}
	add := in.addUKI
	if in.Signed {
		add = in.addSigned
	}
	if err := add(f); err != nil {
		return nil, err
	}
	conf := loaderConf
	if in.Owner != nil {
		conf += enrol
	}
	f.add("loader/loader.conf", tree.String(conf))
	return t, f.err
}

// addUKI adds systemd-boot, both as the default loader of the disk and under its own name,
// and the unified kernel image of slot a.
func (in Input) addUKI(f *files) error {
	names := efiNames[in.Arch]
	loader, err := in.content(efiDir+"systemd-boot"+names.suffix+".efi", "add the package "+loaderPackage)
	if err != nil {
		return err
	}
	uki, err := slotUKI(in, "a")
	if err != nil {
		return err
	}
	if in.Owner != nil {
		if loader, err = in.own(loader); err != nil {
			return err
		}
		if err := in.addKeys(f); err != nil {
			return err
		}
	}
	f.add(contract.EFIBootDir+names.removable, loader)
	f.add("EFI/systemd/systemd-boot"+names.suffix+".efi", loader)
	f.add(slot.EFIName{Generation: 1, Slot: "a"}.Path(), tree.Bytes(uki))
	return nil
}

// loaderConf boots without delay and does not let anybody edit the kernel command line,
// which would give a root shell. Holding a key down still shows the menu.
const loaderConf = "timeout 0\nconsole-mode keep\neditor no\nrandom-seed-mode off\nauto-entries no\nauto-firmware no\n"

// slotUKI returns the unified kernel image that boots a slot ("a" or "b"). It is signed if
// in.Owner is set.
func slotUKI(in Input, name string) ([]byte, error) {
	stub, err := in.read(efiDir+"linux"+efiNames[in.Arch].suffix+".efi.stub", "add the package "+loaderPackage)
	if err != nil {
		return nil, err
	}
	kernel, err := in.kernel()
	if err != nil {
		return nil, err
	}
	initrd, err := Initramfs(in)
	if err != nil {
		return nil, err
	}
	ucode, err := Microcode(in)
	if err != nil {
		return nil, err
	}
	sections := []Section{
		{".osrel", []byte(osRelease(in, name))},
		{".cmdline", []byte(in.cmdline(name))},
		{".uname", []byte(in.Kernel)},
	}
	if ucode != nil {
		sections = append(sections, Section{".ucode", ucode})
	}
	sections = append(sections, Section{".initrd", initrd}, Section{".linux", kernel})
	uki, err := UKI(stub, sections)
	if err != nil || in.Owner == nil {
		return uki, err
	}
	return in.Owner.Sign(uki)
}

// osRelease names the entry in systemd-boot's menu. It carries no version on purpose:
// systemd-boot (as of 257) orders by sort key, then version, then file name, and a trial of
// an older or equal version must still come first. Without versions, the generation in the
// file name alone decides; see firstboot/slot.
func osRelease(in Input, name string) string {
	return fmt.Sprintf("ID=debian\nIMAGE_ID=%s\nPRETTY_NAME=\"%s %s (slot %s)\"\nIMAGEBUILDER_IMAGE_VERSION=%s\n",
		contract.ImageID(in.Board), in.title(), in.ImageVersion, name, in.ImageVersion)
}

package boot

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// LoaderPackages bring an ESP's boot loaders: those with signatures, which start
// with Secure Boot on, or systemd-boot and its stub alone.
func LoaderPackages(arch string, signed bool) []string {
	if !signed {
		return []string{loaderPackage}
	}
	return []string{"shim-signed", "shim-helpers-" + arch + "-signed", "systemd-boot-efi-" + arch + "-signed"}
}

// Who must have signed, so that machines and shim start it. Microsoft does with
// keys of 2011 and of 2023; machines have either or both. shim has Debian's
// certificate in it.
const (
	microsoft = "Microsoft"
	debian    = "Debian Secure Boot CA"
)

const shimDir = "usr/lib/shim/"

// signedLoaders are Debian's loaders with the names that they have on the ESP.
// Firmware starts shim, and shim what is called grub in its own directory,
// whatever that is. MokManager ("mm") is there for a disk that comes out of another
// machine's life: a request for a key that still waits in the firmware makes shim
// stop without it. There is no fallback ("fb"): it would look for lists that other
// systems have, in place of the loader.
func (in Input) signedLoaders() []struct{ from, to, signer, pkg string } {
	n := efiNames[in.Arch]
	packages := LoaderPackages(in.Arch, true)
	return []struct{ from, to, signer, pkg string }{
		{shimDir + "shim" + n.suffix + ".efi.signed", n.removable, microsoft, packages[0]},
		{shimDir + "mm" + n.suffix + ".efi.signed", "mm" + n.suffix + ".efi", debian, packages[1]},
		{efiDir + "systemd-boot" + n.suffix + ".efi.signed", "grub" + n.suffix + ".efi", debian, packages[2]},
	}
}

// addSigned puts on an ESP what machines with Microsoft's keys start: shim,
// systemd-boot and the kernel with the signatures that they came with, and an
// entry for slot a. The entry, with the kernel's arguments, and the initramfs are
// not signed: nobody's key is at hand where images are built.
func (in Input) addSigned(f *files) error {
	for _, l := range in.signedLoaders() {
		if err := in.addProgram(f, contract.EFIBootDir+l.to, l.from, l.signer, "add the package "+l.pkg); err != nil {
			return err
		}
	}
	const name = "a"
	hint := "the kernel package brings it; those whose name ends in -unsigned do not fit secureBoot: debian"
	if err := in.addProgram(f, name+"/vmlinuz", in.kernelPath(), debian, hint); err != nil {
		return err
	}
	initrd, err := in.initrd()
	if err != nil {
		return err
	}
	f.add(name+"/initrd.img", tree.Bytes(initrd))
	f.add(slot.EFIName{Generation: 1, Slot: name, Entry: true}.Path(), tree.String(in.entry(name)))
	if in.BIOS {
		return in.addGRUB(f, name)
	}
	return nil
}

// addProgram adds a program of the root that must bear a signature.
func (in Input) addProgram(f *files, to, from, signer, hint string) error {
	content, err := in.content(from, hint)
	if err != nil {
		return err
	}
	data, err := readAll(from, content)
	if err != nil {
		return err
	}
	if err := checkSignature(data, signer); err != nil {
		return fmt.Errorf("/%s: %w (%s)", from, err, hint)
	}
	f.add(to, content)
	return nil
}

// initrd is the microcode and, behind it, the initramfs: the kernel unpacks
// one after the other, and looks for microcode at the very beginning only.
func (in Input) initrd() ([]byte, error) {
	ucode, err := Microcode(in)
	if err != nil {
		return nil, err
	}
	initramfs, err := Initramfs(in)
	return append(pad(ucode, 4), initramfs...), err
}

// entry starts a slot ("a" or "b"). Like a unified kernel image's, it carries
// no version: see osRelease.
func (in Input) entry(name string) string {
	return fmt.Sprintf("title %s %s (slot %s)\nsort-key %s\nlinux /%[3]s/vmlinuz\ninitrd /%[3]s/initrd.img\noptions %[5]s\n",
		in.title(), in.ImageVersion, name, contract.ImageID(in.Board), in.cmdline(name))
}

var errUnsigned = errors.New("bears no signature")

// checkSignature finds what could not start: a PE file without a signature
// (Microsoft's "Windows Authenticode Portable Executable Signature Format"), with
// one of other bytes, or of somebody else. That the signature is genuine is not
// asked here: packages are checked by Debian's, and machines by this one.
func checkSignature(b []byte, signer string) error {
	if _, err := parsePE(b); err != nil {
		return err
	}
	sum, signature, err := authenticode.Read(b)
	switch {
	case err != nil:
		return err
	case signature == nil:
		return errUnsigned
	case !bytes.Contains(signature, sum):
		return errors.New("was changed after it had been signed")
	case !bytes.Contains(signature, []byte(signer)):
		return fmt.Errorf("bears a signature, but none by %s", signer)
	}
	return nil
}

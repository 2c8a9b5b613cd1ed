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

// LoaderPackages returns the packages with an ESP's boot loaders: if signed, those that
// start with Secure Boot on, else systemd-boot and its stub only.
func LoaderPackages(arch string, signed bool) []string {
	if !signed {
		return []string{loaderPackage}
	}
	return []string{"shim-signed", "shim-helpers-" + arch + "-signed", "systemd-boot-efi-" + arch + "-signed"}
}

// The required signers, so that machines and shim start a program. Microsoft signs with
// keys of 2011 and of 2023; machines have one or both. Debian's certificate is built into
// shim.
const (
	microsoft = "Microsoft"
	debian    = "Debian Secure Boot CA"
)

const shimDir = "usr/lib/shim/"

// signedLoaders are Debian's signed loaders and their names on the ESP. The firmware starts
// shim, and shim starts whatever is called grub in its own directory: here systemd-boot.
// MokManager ("mm") is needed on a machine that was used before: if a request to enrol a
// key is still pending in the firmware, shim stops without MokManager. The fallback loader
// ("fb") is left out: instead of starting the loader, it would look for boot lists of other
// systems.
func (in Input) signedLoaders() []struct{ from, to, signer, pkg string } {
	n := efiNames[in.Arch]
	packages := LoaderPackages(in.Arch, true)
	return []struct{ from, to, signer, pkg string }{
		{shimDir + "shim" + n.suffix + ".efi.signed", n.removable, microsoft, packages[0]},
		{shimDir + "mm" + n.suffix + ".efi.signed", "mm" + n.suffix + ".efi", debian, packages[1]},
		{efiDir + "systemd-boot" + n.suffix + ".efi.signed", "grub" + n.suffix + ".efi", debian, packages[2]},
	}
}

// addSigned adds what machines with Microsoft's keys start: shim, systemd-boot and the kernel,
// with the signatures in their packages, and an entry for slot a. The entry, which has the
// kernel arguments, and the initramfs are not signed: no suitable key is available where images
// are built.
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

// addProgram adds a program of the root after checking that signer signed it.
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

// initrd is the microcode followed by the initramfs: the kernel unpacks one after the
// other, and looks for microcode at the very beginning only.
func (in Input) initrd() ([]byte, error) {
	ucode, err := Microcode(in)
	if err != nil {
		return nil, err
	}
	initramfs, err := Initramfs(in)
	return append(pad(ucode, 4), initramfs...), err
}

// entry is the boot entry of a slot ("a" or "b"). Like a unified kernel image, it has no
// version: see osRelease.
func (in Input) entry(name string) string {
	return fmt.Sprintf("title %s %s (slot %s)\nsort-key %s\nlinux /%[3]s/vmlinuz\ninitrd /%[3]s/initrd.img\noptions %[5]s\n",
		in.title(), in.ImageVersion, name, contract.ImageID(in.Board), in.cmdline(name))
}

var errUnsigned = errors.New("bears no signature")

// checkSignature refuses a PE file that Secure Boot would not start: one without a
// signature (Microsoft's "Windows Authenticode Portable Executable Signature Format"), with
// the signature of other bytes, or of another signer. It does not check that the signature
// is genuine: the file's package is authenticated by Debian's archive key, and the machine
// checks the signature.
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

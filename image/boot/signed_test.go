package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// sign appends what checkSignature reads of a signature: its digest and the
// signer's name. Real ones are judged by firmware and shim, in image/e2e.
func sign(pe []byte, signer string) []byte {
	const opt = 0x40 + 4 + 20
	pe = pad(bytes.Clone(pe), 8)
	size := 8 + sha256.Size + len(signer)
	size += -size & 7
	le := binary.LittleEndian
	le.PutUint32(pe[opt+144:], uint32(len(pe)))
	le.PutUint32(pe[opt+148:], uint32(size))
	hashed := bytes.Clone(pe[:opt+64])
	hashed = append(hashed, pe[opt+68:opt+144]...)
	hashed = append(hashed, pe[opt+152:]...)
	sum := sha256.Sum256(hashed)
	blob := append(append(make([]byte, 8), sum[:]...), signer...)
	return append(pe, append(blob, make([]byte, size-len(blob))...)...)
}

// signedInput is input with everything that Secure Boot needs.
func signedInput(t *testing.T) Input {
	t.Helper()
	in := input(t)
	in.Signed = true
	for p, signer := range map[string]string{
		"usr/lib/shim/shimx64.efi.signed":                     microsoft + " Corporation UEFI CA 2011",
		"usr/lib/shim/mmx64.efi.signed":                       debian,
		"usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed": debian,
		in.kernelPath(): debian,
	} {
		in.put(t, p, sign(makePE(1, 0x9000), signer))
	}
	return in
}

func (in Input) put(t *testing.T, p string, data []byte) {
	t.Helper()
	in.Root.Remove(p)
	f := files{t: in.Root, epoch: epoch}
	if f.add(p, tree.Bytes(data)); f.err != nil {
		t.Fatal(f.err)
	}
}

func TestSignedESP(t *testing.T) {
	in := signedInput(t)
	in.Microcode = []string{"06-5e-*"}
	in.Root.Remove("usr/lib/systemd/boot/efi/systemd-bootx64.efi") // packages of the other way are not needed
	in.Root.Remove("usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	esp, err := ESP(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi", "README.txt", "REPORT.TXT", "STAGE.TXT", "STATUS.TXT", "a/initrd.img", "a/vmlinuz",
		"imagebuilder.json", "loader/entries/imagebuilder-1-a.conf", "loader/loader.conf", "node.yaml"}
	var got []string
	for n := range esp.Walk() {
		if !n.Mode.IsDir() {
			got = append(got, n.Path)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for from, to := range map[string]string{
		in.kernelPath():                                       "a/vmlinuz",
		"usr/lib/shim/mmx64.efi.signed":                       "EFI/BOOT/mmx64.efi",
		"usr/lib/shim/shimx64.efi.signed":                     "EFI/BOOT/BOOTX64.EFI",
		"usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed": "EFI/BOOT/grubx64.efi",
	} {
		want, _ := in.Root.ReadAll(from)
		if got, err := esp.ReadAll(to); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not the signed %s (%v)", to, from, err)
		}
	}
	entry, err := esp.ReadAll("loader/entries/imagebuilder-1-a.conf")
	wantEntry := "title Test machine 2026.1 (slot a)\nsort-key imagebuilder-test-board\nlinux /a/vmlinuz\ninitrd /a/initrd.img\noptions " + in.cmdline("a") + "\n"
	if err != nil || string(entry) != wantEntry {
		t.Errorf("the entry is %q (%v)", entry, err)
	}
	label, _ := esp.ReadAll(contract.LabelFile)
	if l, err := contract.ParseLabel(label); err != nil || !l.Signed {
		t.Errorf("label %s: %v", label, err)
	}
}

// TestBIOSFiles: what GRUB reads is beside what systemd-boot reads, and says the
// same.
func TestBIOSFiles(t *testing.T) {
	in := signedInput(t)
	in.BIOS = true
	esp, err := ESP(in)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"grub/grub.cfg": string(grubCfg), "grub/grubenv": string(slot.CountEnv("", 0)), "a/grub.cfg": "set options='" + in.cmdline("a") + "'\n",
	} {
		if got, err := esp.ReadAll(name); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v)", name, got, err)
		}
	}
	if _, err := BIOSLoader(in); err == nil || !strings.Contains(err.Error(), "add the package grub-pc-bin") {
		t.Errorf("without GRUB's files: %v", err)
	}
	plain := in.Cmdline
	for _, arg := range []string{"say='hello'", `dyndbg="file a +p"`, `a\b`, "a\nb"} {
		in.Cmdline = append(slices.Clone(plain), arg)
		if _, err := ESP(in); err == nil || !strings.Contains(err.Error(), "leave those and ends of lines away") {
			t.Errorf("%q, which GRUB would change: %v", arg, err)
		}
	}
}

// TestGRUBCanReadItsScript checks the script with GRUB's own parser. Package image/e2e
// checks under SeaBIOS what the script starts.
func TestGRUBCanReadItsScript(t *testing.T) { run(t, grubCfg, "grub-script-check") }

// TestMicrocodeComesBeforeTheInitramfs: behind it the kernel does not look.
func TestMicrocodeComesBeforeTheInitramfs(t *testing.T) {
	in := signedInput(t)
	in.Microcode = []string{"06-5e-*"}
	initrd, err := in.initrd()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(run(t, initrd, "cpio", "-i", "--to-stdout", "--quiet", "kernel/x86/microcode/GenuineIntel.bin")); got != "SKYL" {
		t.Errorf("the first archive has %q", got)
	}
	if out := string(run(t, nil, "lsinitramfs", tempFile(t, initrd))); !strings.Contains(out, "GenuineIntel.bin") || !strings.Contains(out, "squashfs.ko.xz") {
		t.Errorf("lsinitramfs: %s", out)
	}
}

// TestWhatCouldNotStartIsRefused: the machine would say "Security Violation".
func TestWhatCouldNotStartIsRefused(t *testing.T) {
	kernel := input(t).kernelPath()
	const loader, shim = "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed", "usr/lib/shim/shimx64.efi.signed"
	good := sign(makePE(1, 0x9000), debian)
	changed := bytes.Clone(good)
	changed[len(changed)/2] ^= 1
	for name, c := range map[string]struct {
		path, want string
		data       []byte
	}{
		"unsigned kernel":     {kernel, "bears no signature (the kernel package brings it; those whose name ends in -unsigned", makePE(1, 0x9000)},
		"changed kernel":      {kernel, "was changed after it had been signed", changed},
		"somebody's kernel":   {kernel, "none by Debian Secure Boot CA", sign(makePE(1, 0x9000), "Somebody")},
		"kernel cut short":    {kernel, "is cut short", good[:len(good)-8]},
		"something behind it": {kernel, "something behind its signature", append(bytes.Clone(good), "more"...)},
		"no kernel":           {kernel, "not a PE32+ file", []byte("#!")},
		"changed loader":      {loader, "was changed after it had been signed", changed},
		"shim without MS":     {shim, "none by Microsoft", good},
	} {
		t.Run(name, func(t *testing.T) {
			in := signedInput(t)
			in.put(t, c.path, c.data)
			if _, err := ESP(in); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "/"+c.path) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for p, hint := range map[string]string{loader: "systemd-boot-efi-amd64-signed", shim: "shim-signed", "usr/lib/shim/mmx64.efi.signed": "shim-helpers-amd64-signed"} {
		in := signedInput(t)
		in.Root.Remove(p)
		if _, err := ESP(in); err == nil || !strings.Contains(err.Error(), "add the package "+hint) {
			t.Errorf("without %s: %v", p, err)
		}
	}
}

func FuzzCheckSignature(f *testing.F) {
	f.Add(sign(makePE(1, 0x9000), debian))
	f.Add(makePE(0, 0))
	f.Fuzz(func(t *testing.T, data []byte) { _ = checkSignature(data, debian) })
}

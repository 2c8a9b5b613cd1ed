package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/tree"
)

var epoch = time.Unix(1763800000, 0).UTC()

// run returns what a judge printed; a judge that is not there fails the test.
func run(t testing.TB, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: run make deps", name)
	}
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.Bytes())
	}
	return out
}

func tempFile(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// makePE returns a small PE32+ file with room for more sections, such as a
// stub or a kernel. sizeOfImage is what it wants in memory.
func makePE(room int, sizeOfImage uint32) []byte {
	const pe, opt = 0x40, 0x40 + 4 + 20
	const optSize, text = 112 + 16*8, 0x200
	headers := int(roundUp(uint64(opt+optSize+(1+room)*sectionSize), 0x200))
	b := make([]byte, headers+text)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[peOffsetField:], pe)
	copy(b[pe:], "PE\x00\x00")
	le.PutUint16(b[pe+4:], 0x8664)
	le.PutUint16(b[pe+4+coffSections:], 1)
	le.PutUint16(b[pe+4+coffOptSize:], optSize)
	le.PutUint16(b[pe+4+18:], 0x0206)
	le.PutUint16(b[opt:], 0x20b)
	le.PutUint32(b[opt+optSectionAlign:], 0x1000)
	le.PutUint32(b[opt+optFileAlign:], 0x200)
	le.PutUint32(b[opt+optImageSize:], sizeOfImage)
	le.PutUint32(b[opt+optHeadersSize:], uint32(headers))
	le.PutUint32(b[opt+108:], 16)
	s := b[opt+optSize:]
	copy(s, ".text")
	le.PutUint32(s[8:], text)
	le.PutUint32(s[12:], 0x1000)
	le.PutUint32(s[16:], text)
	le.PutUint32(s[20:], uint32(headers))
	le.PutUint32(s[36:], 0x60000020)
	return b
}

const kernelVersion = "6.12.1-test"

// fakeUBoot is a binary with a default environment like Debian's.
func fakeUBoot() []byte {
	return []byte("\x14\x00\x00\xea code \x00cyclic list - list cyclic functions\n\x00bootcmd=bootflow scan\x00bootdelay=2\x00preboot=pci enum; usb start;\x00baudrate=115200\x00" +
		"arch=arm\x00board=rpi\x00board_name=rpi\x00dhcpuboot=usb start; dhcp\x00boot_targets=mmc usb pxe dhcp\x00stdin=serial,usbkbd\x00kernel_addr_r=0x00080000\x00\x00\x000123456789ABCDEF more code, bootdelay of no meaning\x00U-Boot 2025.01-3+deb13u1 (Jun 24 2026 - 09:07:15 +0000)\x00")
}

var piTree = `/dts-v1/;
/ {
	compatible = "raspberrypi,4-model-b";
	chosen { };
	soc {
		serial@7e201000 { bluetooth { compatible = "brcm,bcm43438-bt"; }; };
		serial@7e215040 { status = "okay"; };
		hdmi@7ef00700 { };
	};
	emmc2bus { mmc@7e340000 { vmmc-supply = <1>; vqmmc-supply = <2>; broken-cd; }; };
};
`

// input is a root that has what every board needs.
func input(t testing.TB) Input {
	t.Helper()
	root := tree.New()
	f := files{t: root, epoch: epoch}
	dtb := tree.Bytes(run(t, []byte(piTree), "dtc", "-q", "-I", "dts", "-O", "dtb"))
	for p, c := range map[string]tree.Content{
		"boot/vmlinuz-" + kernelVersion:                                          tree.Bytes(makePE(0, 0x9000)),
		"usr/lib/modules/" + kernelVersion + "/kernel/drivers/wdt.ko.xz":         tree.String("watchdog driver"),
		"usr/lib/modules/" + kernelVersion + "/kernel/fs/squashfs.ko.xz":         tree.String("squashfs driver"),
		"usr/lib/systemd/boot/efi/systemd-bootx64.efi":                           tree.String("loader"),
		"usr/lib/systemd/boot/efi/linuxx64.efi.stub":                             tree.Bytes(makePE(20, 0x2000)),
		"usr/lib/firmware/intel-ucode/06-5e-03.initramfs":                        tree.String("SKYL"),
		"usr/lib/firmware/intel-ucode/06-9e-09":                                  tree.String("KABY"),
		"usr/lib/firmware/intel-ucode/0f-00-07":                                  tree.String("OLD!"),
		"usr/lib/raspi-firmware/start4.elf":                                      tree.String("GPU firmware"),
		"usr/lib/raspi-firmware/fixup4.dat":                                      tree.String("GPU fixup"),
		"usr/lib/raspi-firmware/overlays/disable-wifi.dtbo":                      tree.String("overlay"),
		"usr/lib/linux-image-" + kernelVersion + "/broadcom/bcm2711-rpi-4-b.dtb": dtb,
		"usr/lib/modules/" + kernelVersion + "/dtb/broadcom/bcm2712-rpi-5-b.dtb": dtb,
		"usr/lib/u-boot/rpi_arm64/u-boot.bin":                                    tree.Bytes(fakeUBoot()),
	} {
		f.add(p, c)
	}
	if f.err != nil {
		t.Fatal(f.err)
	}
	return Input{
		Board: "test-board", Title: "Test machine", ImageVersion: "2026.1", Arch: "amd64", Root: root, Kernel: kernelVersion,
		Init: tree.String("#!init"), Modules: []string{"wdt", "squashfs"}, Closure: closureOf,
		Cmdline: []string{"console=tty0", "panic=10"}, DiskID: "deadbeef", SlotSize: 2 << 30, Epoch: epoch,
	}
}

func closureOf(names []string) ([]kmod.Module, error) {
	paths := map[string]string{"wdt": "drivers/wdt", "squashfs": "fs/squashfs"}
	var out []kmod.Module
	for _, n := range names {
		if p, ok := paths[n]; ok {
			out = append(out, kmod.Module{Name: n, Path: "usr/lib/modules/" + kernelVersion + "/kernel/" + p + ".ko.xz", Needs: []string{"core"}})
		}
	}
	return out, nil
}

// listing prints a tree as "path: type mode size".
func listing(t *tree.Tree) string {
	var b strings.Builder
	for n := range t.Walk() {
		kind := "file"
		if n.Mode.IsDir() {
			kind = "dir"
		}
		fmt.Fprintf(&b, "%s: %s %04o %d\n", n.Path, kind, n.Mode.Perm(), n.Size())
	}
	return b.String()
}

func TestInitramfs(t *testing.T) {
	in := input(t)
	packed, err := Initramfs(in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Initramfs(in)
	if err != nil || !bytes.Equal(packed, again) {
		t.Errorf("two runs differ (%v)", err)
	}
	plain := run(t, packed, "zstd", "-dc")
	want := `crw------- dev/console
drwxr-xr-x dev
-rwxr-xr-x init
-rw-r--r-- build
-rw-r--r-- epoch
-rw-r--r-- modules.list
drwxr-xr-x proc
drwxr-xr-x run
drwxr-xr-x sys
drwxr-xr-x sysroot
drwxr-xr-x usr
drwxr-xr-x usr/lib
drwxr-xr-x usr/lib/modules
drwxr-xr-x usr/lib/modules/6.12.1-test
drwxr-xr-x usr/lib/modules/6.12.1-test/kernel
drwxr-xr-x usr/lib/modules/6.12.1-test/kernel/drivers
-rw-r--r-- usr/lib/modules/6.12.1-test/kernel/drivers/wdt.ko.xz
drwxr-xr-x usr/lib/modules/6.12.1-test/kernel/fs
-rw-r--r-- usr/lib/modules/6.12.1-test/kernel/fs/squashfs.ko.xz
`
	var got []string
	for line := range strings.Lines(string(run(t, plain, "cpio", "-tv", "--quiet"))) {
		f := strings.Fields(line)
		got = append(got, f[0]+" "+f[len(f)-1])
	}
	wantLines := strings.Split(strings.TrimSpace(want), "\n")
	sortLines(got)
	sortLines(wantLines)
	if diff := cmp.Diff(wantLines, got); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"modules.list": "usr/lib/modules/6.12.1-test/kernel/drivers/wdt.ko.xz core\nusr/lib/modules/6.12.1-test/kernel/fs/squashfs.ko.xz core\n",
		"epoch":        "1763800000\n",
		"build":        "imagebuilder test-board 2026.1, kernel 6.12.1-test\n",
	} {
		if got := string(run(t, plain, "cpio", "-i", "--to-stdout", "--quiet", name)); got != text {
			t.Errorf("%s: %q", name, got)
		}
	}
	if out := string(run(t, nil, "lsinitramfs", tempFile(t, packed))); !strings.Contains(out, "squashfs.ko.xz") {
		t.Errorf("lsinitramfs: %s", out)
	}
}

func sortLines(lines []string) {
	for i := range lines {
		f := strings.Fields(lines[i])
		lines[i] = f[1] + " " + f[0]
	}
	for i := range lines {
		for j := i; j > 0 && lines[j] < lines[j-1]; j-- {
			lines[j], lines[j-1] = lines[j-1], lines[j]
		}
	}
}

func TestMicrocode(t *testing.T) {
	in := input(t)
	if b, err := Microcode(in); b != nil || err != nil {
		t.Errorf("none wanted: %d bytes, %v", len(b), err)
	}
	in.Microcode = []string{"06-5e-*", "06-9e-*"}
	b, err := Microcode(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(run(t, b, "cpio", "-i", "--to-stdout", "--quiet", "kernel/x86/microcode/GenuineIntel.bin")); got != "SKYLKABY" {
		t.Errorf("%q", got)
	}
	in.Microcode = []string{"ff-*"}
	if _, err := Microcode(in); err == nil || !strings.Contains(err.Error(), "intel-microcode") {
		t.Errorf("no match: %v", err)
	}
}

// TestMicrocodeOfBothVendors: each finds its own in the one archive.
func TestMicrocodeOfBothVendors(t *testing.T) {
	in := input(t)
	for p, text := range map[string]string{"microcode_amd.bin": "FAM10", "microcode_amd_fam17h.bin": "ZEN", "microcode_amd_fam17h.bin.asc": "signature"} {
		f := files{t: in.Root, epoch: in.Epoch}
		if f.add("usr/lib/firmware/amd-ucode/"+p, tree.String(text)); f.err != nil {
			t.Fatal(f.err)
		}
	}
	for pattern, want := range map[string][2]string{"*": {"FAM10ZEN", "SKYLKABYOLD!"}, "microcode_amd*": {"FAM10ZEN", ""}, "06-9e-*": {"", "KABY"}} {
		in.Microcode = []string{pattern}
		b, err := Microcode(in)
		if err != nil {
			t.Fatal(err)
		}
		amd := string(run(t, b, "cpio", "-i", "--to-stdout", "--quiet", "kernel/x86/microcode/AuthenticAMD.bin"))
		intel := string(run(t, b, "cpio", "-i", "--to-stdout", "--quiet", "kernel/x86/microcode/GenuineIntel.bin"))
		if got := [2]string{amd, intel}; got != want {
			t.Errorf("%s: %q", pattern, got)
		}
	}
}

func TestESP(t *testing.T) {
	esp, err := ESP(input(t))
	if err != nil {
		t.Fatal(err)
	}
	uki := esp.Get("EFI/Linux/imagebuilder-1-a.efi").Size()
	want := fmt.Sprintf(`.: dir 0755 0
EFI: dir 0755 0
EFI/BOOT: dir 0755 0
EFI/BOOT/BOOTX64.EFI: file 0644 6
EFI/Linux: dir 0755 0
EFI/Linux/imagebuilder-1-a.efi: file 0644 %d
EFI/systemd: dir 0755 0
EFI/systemd/systemd-bootx64.efi: file 0644 6
README.txt: file 0644 %d
REPORT.TXT: file 0644 131072
STAGE.TXT: file 0644 512
STATUS.TXT: file 0644 4096
imagebuilder.json: file 0644 %d
loader: dir 0755 0
loader/loader.conf: file 0644 %d
node.yaml: file 0644 32768
`, uki, len(readme(input(t))), esp.Get(contract.LabelFile).Size(), len(loaderConf))
	if diff := cmp.Diff(want, listing(esp)); diff != "" {
		t.Error(diff)
	}
	for n := range esp.Walk() {
		if n.Path != "." && !n.ModTime.Equal(epoch) {
			t.Errorf("%s has time %v", n.Path, n.ModTime)
		}
	}
}

func TestCmdline(t *testing.T) {
	want := "console=tty0 panic=10 imagebuilder.slot=b imagebuilder.disk=deadbeef imagebuilder.slotsize=2048 systemd.watchdog_sec=60 systemd.gpt_auto=0"
	if got := input(t).cmdline("b"); got != want {
		t.Error(got)
	}
}

// TestKernelBesideItsModules: there Debian's packages have it from 7.x on.
func TestKernelBesideItsModules(t *testing.T) {
	in := input(t)
	want, err := in.kernel()
	if err != nil {
		t.Fatal(err)
	}
	old := in.Root.Get("boot/vmlinuz-" + kernelVersion)
	in.Root.Remove(old.Path)
	moved := old.Clone()
	moved.Path = "usr/lib/modules/" + kernelVersion + "/vmlinuz"
	if err := in.Root.Put(moved); err != nil {
		t.Fatal(err)
	}
	if got, err := in.kernel(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestMissingInput(t *testing.T) {
	for p, hint := range map[string]string{
		"boot/vmlinuz-" + kernelVersion:                "kernel package",
		"usr/lib/systemd/boot/efi/systemd-bootx64.efi": "systemd-boot-efi",
		"usr/lib/systemd/boot/efi/linuxx64.efi.stub":   "systemd-boot-efi",
	} {
		in := input(t)
		in.Root.Remove(p)
		if _, err := ESP(in); err == nil || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", p, err)
		}
	}
	in := input(t)
	in.Arch = "riscv64"
	if _, err := ESP(in); err == nil {
		t.Error("riscv64 accepted")
	}
}

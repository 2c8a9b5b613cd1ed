package boot

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/tree"
)

func piInput(t testing.TB) Input {
	in := input(t)
	in.Arch = "arm64"
	in.Cmdline = []string{"console=tty0", "console=ttyS1,115200"}
	in.Pi = &Pi{
		Config:      []string{"arm_64bit=1", "enable_uart=1", "upstream_kernel=1", "dtoverlay=disable-wifi"},
		Firmware:    []string{"start4.elf", "fixup4.dat"},
		Starters:    []string{"start4.elf", "fixup4.dat"},
		DeviceTrees: []string{"broadcom/bcm2711-rpi-4-b.dtb", "broadcom/bcm2712-rpi-5-b.dtb"},
	}
	return in
}

func TestRaspberryPi(t *testing.T) {
	in := piInput(t)
	pi, err := RaspberryPi(in)
	if err != nil {
		t.Fatal(err)
	}
	size := func(p string) int64 { return pi.Get(p).Size() }
	want := fmt.Sprintf(`.: dir 0755 0
README.txt: file 0644 %d
REPORT.TXT: file 0644 131072
STAGE.TXT: file 0644 512
STATUS.TXT: file 0644 4096
a: dir 0755 0
a/cmdline.txt: file 0644 %d
a/initrd.img: file 0644 %d
a/vmlinuz: file 0644 %d
ab.env: file 0644 512
bcm2711-rpi-4-b.dtb: file 0644 %d
bcm2712-rpi-5-b.dtb: file 0644 %d
boot.scr: file 0644 %d
config.txt: file 0644 %d
fixup4.dat: file 0644 9
good.env: file 0644 512
imagebuilder.json: file 0644 %d
node.yaml: file 0644 32768
overlays: dir 0755 0
overlays/disable-wifi.dtbo: file 0644 7
start4.elf: file 0644 12
u-boot.bin: file 0644 %d
`, size("README.txt"), len("bootargs=")+len(in.cmdline("a"))+1, size("a/initrd.img"), size("a/vmlinuz"), size("bcm2711-rpi-4-b.dtb"),
		size("bcm2712-rpi-5-b.dtb"), 64+8+len(bootCmd), size("config.txt"), size(contract.LabelFile), len(fakeUBoot()))
	if diff := cmp.Diff(want, listing(pi)); diff != "" {
		t.Error(diff)
	}
	kernel, err := in.kernel()
	if err != nil {
		t.Fatal(err)
	}
	packed, _ := pi.ReadAll("a/vmlinuz")
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, kernel) {
		t.Errorf("vmlinuz unpacks to %d bytes (%v), not to the %d of the kernel", len(got), err, len(kernel))
	}
}

// dumpimage checks both checksums and gives the script back.
func TestScript(t *testing.T) {
	name := tempFile(t, uBootScript(epoch))
	out := string(run(t, nil, "dumpimage", "-l", name))
	for _, want := range []string{"imagebuilder slots", "AArch64 Linux Script (uncompressed)", "Sat Nov 22 08:26:40 2025", fmt.Sprintf("%d Bytes", len(bootCmd))} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	text := filepath.Join(t.TempDir(), "script")
	run(t, nil, "dumpimage", "-T", "script", "-p", "0", "-o", text, name)
	if got, err := os.ReadFile(text); err != nil || !bytes.Equal(got[8:], bootCmd) { // 8: the list of sizes
		t.Errorf("%d bytes (%v)", len(got), err)
	}
	// U-Boot's shell knows no line continuation and no [[; a loop ends at a
	// Ctrl-C, which noise on the serial line may be.
	for _, bad := range []string{"\\\n", "[[", "\r", "\nfor ", "\nwhile "} {
		if bytes.Contains(bootCmd, []byte(bad)) {
			t.Errorf("boot.cmd has %q", bad)
		}
	}
}

// TestTheScriptMarksWhatTheContractReads: by the names that package contract knows, and with
// the version that the binary was told.
func TestTheScriptMarksWhatTheContractReads(t *testing.T) {
	m := regexp.MustCompile(`env export -t -s 200 \$\{scratch\} (stage .*)\n +fatwrite \$\{fat\} \$\{scratch\} ` + contract.StageFile).FindSubmatch(bootCmd)
	if m == nil {
		t.Fatal("the script marks nothing")
	}
	text := ""
	for name := range strings.FieldsSeq(string(m[1])) {
		text += name + "=of " + name + "\n"
	}
	want := contract.Stage{Reached: "of stage", Revision: "of revision", UBoot: "of uboot"}
	if got := contract.ParseStage([]byte(text)); got != want {
		t.Errorf("%+v", got)
	}
	if !bytes.Contains(bootCmd, []byte(" setenv uboot \"${"+versionVariable+"}\"\n")) {
		t.Error("the script does not mark U-Boot's version")
	}
}

// TestAVersionNobodyKnows: without a recognizable version in the binary, ver= is not set,
// and everything else still works.
func TestAVersionNobodyKnows(t *testing.T) {
	out, err := unattendedUBoot(bytes.Replace(fakeUBoot(), []byte("U-Boot 2025"), []byte("U-Boot-2025"), 1))
	if err != nil || bytes.Contains(out, []byte("\x00ver=")) {
		t.Errorf("%v: %q", err, out)
	}
}

func TestUnattendedUBoot(t *testing.T) {
	in := fakeUBoot()
	out, err := unattendedUBoot(in)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := bytes.Index(in, []byte("bootcmd=")), bytes.Index(in, []byte("\x00\x00\x000123"))
	env := "bootcmd=bootflow scan; sleep 5; reset\x00bootdelay=-2\x00preboot=pci enum\x00baudrate=115200\x00arch=arm\x00board=rpi\x00boot_targets=mmc usb\x00stdin=serial,usbkbd\x00kernel_addr_r=0x00080000\x00ver=2025.01-3+deb13u1\x00"
	want := slices.Concat(in[:begin], []byte(env), make([]byte, end-begin-len(env)), in[end:])
	if !bytes.Equal(out, want) {
		t.Errorf("got  %q\nwant %q", out, want)
	}
	for _, name := range []string{"bootcmd", "boot_targets", "preboot"} {
		if _, err := unattendedUBoot(bytes.Replace(in, []byte(name+"="), []byte("x="), 1)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for what, bin := range map[string][]byte{
		"nothing":     []byte("code"),
		"twice":       append(fakeUBoot(), fakeUBoot()...),
		"no room":     []byte("\x00bootdelay=2\x00\x00x"),
		"no end":      []byte("\x00bootdelay=2"),
		"empty":       nil,
		"at the edge": []byte("\x00bootdelay="),
	} {
		if out, err := unattendedUBoot(bin); err == nil {
			t.Errorf("%s: %q", what, out)
		}
	}
}

func FuzzUnattendedUBoot(f *testing.F) {
	f.Add(fakeUBoot())
	f.Fuzz(func(t *testing.T, bin []byte) {
		if out, err := unattendedUBoot(bin); err == nil && len(out) != len(bin) {
			t.Errorf("%d bytes became %d", len(bin), len(out))
		}
	})
}

func TestQEMUDeviceTree(t *testing.T) {
	out, err := QEMUDeviceTree(run(t, []byte(piTree), "dtc", "-q", "-I", "dts", "-O", "dtb"))
	if err != nil {
		t.Fatal(err)
	}
	want := `/dts-v1/;
/ {
	compatible = "raspberrypi,4-model-b";
	chosen { stdout-path = "serial0:115200n8"; imagebuilder,bootargs = "console=ttyAMA0,115200 systemd.watchdog_sec=0 usbcore.autosuspend=-1"; };
	soc {
		serial@7e201000 { };
		serial@7e215040 { status = "disabled"; };
		hdmi@7ef00700 { status = "disabled"; };
	};
	emmc2bus { mmc@7e340000 { broken-cd; }; };
};
`
	dts := func(blob []byte) string {
		return string(run(t, nil, "dtc", "-q", "-I", "dtb", "-O", "dts", tempFile(t, blob)))
	}
	if diff := cmp.Diff(dts(run(t, []byte(want), "dtc", "-q", "-I", "dts", "-O", "dtb")), dts(out)); diff != "" {
		t.Error(diff)
	}
	// A Pi 3 has no emmc2.
	pi3 := strings.Replace(piTree, "emmc2bus { mmc@7e340000 { vmmc-supply = <1>; vqmmc-supply = <2>; broken-cd; }; };", "", 1)
	if out, err = QEMUDeviceTree(run(t, []byte(pi3), "dtc", "-q", "-I", "dts", "-O", "dtb")); err != nil {
		t.Fatal(err)
	}
	want = strings.Replace(want, "emmc2bus { mmc@7e340000 { broken-cd; }; };", "", 1)
	if diff := cmp.Diff(dts(run(t, []byte(want), "dtc", "-q", "-I", "dts", "-O", "dtb")), dts(out)); diff != "" {
		t.Error(diff)
	}
	if _, err := QEMUDeviceTree(run(t, []byte("/dts-v1/; / { };"), "dtc", "-q", "-I", "dts", "-O", "dtb")); err == nil {
		t.Error("accepted the tree of another machine")
	}
}

func TestLintConfig(t *testing.T) {
	const good = "arm_64bit=1\nenable_uart=1\nupstream_kernel=1\nkernel=u-boot.bin\n"
	tests := []struct{ name, config, want string }{
		{"good", good + "# comment\n\n[pi4]\narm_boost=1\n[all]\ndtparam=audio=off\ndtparam=i2c_arm=on\n", ""},
		{"unknown key", good + "arm64bit=1\n", `config.txt:5: "arm64bit" is not a setting`},
		{"flag", good + "disable_splash=yes\n", "config.txt:5: disable_splash must be 0 or 1"},
		{"number", good + "gpu_mem=a lot\n", "config.txt:5: gpu_mem must be a number"},
		{"twice", good + "enable_uart=0\n", "config.txt:5: enable_uart was set in line 2 already"},
		{"blanks", good + " gpu_mem=16\n", "config.txt:5: blanks"},
		{"section", good + "[pi44]\n", "config.txt:5: section [pi44] is not known"},
		{"long line", good + "# " + strings.Repeat("x", 120) + "\n", "config.txt:5: the line is longer than 98"},
		{"kernel of another", "arm_64bit=1\nenable_uart=1\nupstream_kernel=1\n[pi4]\nkernel=u-boot.bin\n", "kernel= is missing"},
		{"kernel for all", "arm_64bit=1\nenable_uart=1\nupstream_kernel=1\n[pi4]\narm_boost=1\n[all]\nkernel=u-boot.bin\n", ""},
		{"missing kernel", "arm_64bit=1\nenable_uart=1\nupstream_kernel=1\n", "kernel= is missing"},
		{"missing file", strings.Replace(good, "u-boot.bin", "kernel8.img", 1), `config.txt:4: kernel names "kernel8.img"`},
		{"for some machines", "[pi4]\narm_64bit=1\n[all]\nenable_uart=1\nupstream_kernel=1\nkernel=u-boot.bin\n", "line 2 sets it for [pi4] alone"},
		{"32 bit", strings.Replace(good, "arm_64bit=1", "arm_64bit=0", 1), "arm_64bit=1 is missing"},
		{"uart", strings.Replace(good, "enable_uart=1", "enable_uart=0", 1), "enable_uart=1 is missing"},
		{"vendor names", strings.Replace(good, "upstream_kernel=1\n", "", 1), "upstream_kernel=1 is missing"},
		{"initramfs with =", good + "initramfs=a/initrd.img\n", "write it as: initramfs FILE followkernel"},
		{"initramfs", good + "initramfs a/initrd.img followkernel\n", ""},
		{"initramfs gone", good + "initramfs z/initrd.img followkernel\n", `initramfs names "z/initrd.img"`},
		{"overlay", good + "dtoverlay=vc4-kms-v3d,noaudio\n", `"overlays/vc4-kms-v3d.dtbo", which is not`},
		{"os_prefix without its files", "os_prefix=a/\n" + good, `kernel names "a/u-boot.bin"`},
		{"os_prefix without device tree", "os_prefix=a/\n" + strings.Replace(good, "u-boot.bin", "vmlinuz", 1), `no device tree (.dtb) lies in "/a/"`},
		{"too long", good + strings.Repeat("# comment\n", 2000), "longer than 16384 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := files{t: tree.New(), epoch: epoch}
			for p, text := range map[string]string{"u-boot.bin": "x", "start4.elf": "x", "fixup4.dat": "x", "bcm2711-rpi-4-b.dtb": "x", "a/vmlinuz": "x",
				"a/initrd.img": "x", "a/cmdline.txt": "bootargs=console=ttyS1,115200\n", "config.txt": test.config} {
				files.add(p, tree.String(text))
			}
			err := lintConfig(files.t, []string{"start4.elf", "fixup4.dat"})
			if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestABoardsSectionEnds before what every image ends with.
func TestABoardsSectionEnds(t *testing.T) {
	in := piInput(t)
	in.Pi.Config = append(in.Pi.Config, "[pi4]", "arm_boost=1")
	pi, err := RaspberryPi(in)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := pi.ReadAll("config.txt"); !strings.HasSuffix(string(text), "\n[pi4]\narm_boost=1\n[all]\nkernel=u-boot.bin\n") {
		t.Errorf("%s", text)
	}
}

func TestWhatStartsAPiIsThere(t *testing.T) {
	in := piInput(t)
	in.Pi.Starters = []string{"bootcode.bin", "start4.elf"}
	if _, err := RaspberryPi(in); err == nil || !strings.Contains(err.Error(), "bootcode.bin is not on the boot partition") || strings.Contains(err.Error(), "start4.elf") {
		t.Error(err)
	}
	in.Pi.Starters, in.Pi.Firmware = nil, nil // a Pi 5
	if _, err := RaspberryPi(in); err != nil {
		t.Error(err)
	}
}

func FuzzLintConfig(f *testing.F) {
	f.Add("arm_64bit=1\nkernel=u-boot.bin\n[pi4]\ninitramfs x followkernel\n")
	f.Fuzz(func(t *testing.T, config string) {
		files := files{t: tree.New(), epoch: epoch}
		files.add("config.txt", tree.String(config))
		_ = lintConfig(files.t, []string{"start4.elf", "fixup4.dat"})
	})
}

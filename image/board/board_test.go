package board_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
)

func TestBuiltInBoardsLoad(t *testing.T) {
	for _, name := range []string{"generic-amd64", "generic-arm64", "optiplex-7050", "rpi3", "rpi4", "rpi5"} {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if b.Disk.Boot.String() != "256MiB" || b.Disk.Slot.String() != "2GiB" {
			t.Errorf("%s: disk is %v, %v", name, b.Disk.Boot, b.Disk.Slot)
		}
	}
}

func TestUnknownBoardNamesTheNearest(t *testing.T) {
	_, err := board.Load("rpi-4", boards.FS)
	var unknown *board.UnknownError
	if !errors.As(err, &unknown) || unknown.Nearest != "rpi4" {
		t.Fatalf("got %v", err)
	}
}

func TestOwnBoardShadowsBuiltIn(t *testing.T) {
	data, err := boards.FS.ReadFile("rpi4.yaml")
	if err != nil {
		t.Fatal(err)
	}
	mine := fstest.MapFS{"rpi4.yaml": {Data: []byte(strings.Replace(string(data), "title: Raspberry", "title: My Raspberry", 1))}}
	b, err := board.Load("rpi4", mine, boards.FS)
	if err != nil || !strings.HasPrefix(b.Title, "My ") {
		t.Fatalf("got %v, %v", b, err)
	}
}

func TestMistakesNameFileLineAndField(t *testing.T) {
	data, err := boards.FS.ReadFile("rpi4.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"version: 1\n", "", `field "version": is missing; write version: 1`},
		{"arch: arm64\n", "", `field "arch": is missing; one of amd64, arm64`},
		{"version: 1", "version: 2", `b.yaml:1: field "version": 2 is not supported`},
		{"name: rpi4", "name: rpi5", `b.yaml:2: field "name": "rpi5" must equal`},
		{"arch: arm64", "arch: armhf", `b.yaml:4: field "arch": "armhf" is not one of`},
		{"arch: arm64", "arhc: arm64", `did you mean "arch"`},
		{"boot: 256MiB", "boot: 256", `is not a size`},
		{"suite: trixie", "suite: trixie-backports", `b.yaml:6: field "suite": trixie-backports is no release: it has no security updates of its own; write suite: trixie`},
		{"suite: trixie", "suite: trixie\nsuites: [{name: forky, packages: [a1]}, {name: sid, packages: [a1]}]", `field "suites[1].packages[0]": a1 comes from forky already`},
		{"suite: trixie", "suite: trixie\nsuites: [{name: forky}]", `field "suites[0].packages": is missing`},
		{"slot: 2GiB", "slot: 2GiB\n  raw: [{file: a/b, offset: 32}]", `b.yaml:87: field "disk.raw[0].offset": "32" is not a size`},
		{"slot: 2GiB", "slot: 2GiB\n  raw: [{file: a/b, ofset: 32KiB}]", `did you mean "offset"`},
		{"slot: 2GiB", "slot: 2GiB\n  raw: [{offset: 32KiB}]", `b.yaml:87: field "disk.raw[0].file": is missing; name one that a package brings`},
		{"slot: 2GiB", "slot: 2GiB\n  raw:\n    - {file: a/b, offset: 32KiB}\n    - {file: /a/b, offset: 8MiB}", `b.yaml:89: field "disk.raw[1].file": "/a/b" is no file of a package`},
		{"slot: 2GiB", "slot: 2GiB\n  raw: [{file: ../b, offset: 32KiB}]", `"../b" is no file of a package`},
		{"slot: 2GiB", "slot: 2GiB\n  raw: [{file: a/b, offset: 0KiB}]", `field "disk.raw[0].offset": 0 bytes is within the partition table, which ends at 1KiB`},
		{"slot: 2GiB", "slot: 2GiB\n  raw: [{file: a/b, offset: 16MiB}]", `field "disk.raw[0].offset": 16MiB is within the first partition, which begins at 16MiB`},
		{"slot: 2GiB", "slot: 2GiB\n  raw: [{file: a/b, offset: 32KiB}, {file: a/c, offset: 32KiB}]", `field "disk.raw[1].offset": 32KiB is where a/b lies`},
		{"slot: 2GiB", "slot: 2MiB", `field "disk.slot": 2MiB must be`},
		{"raspberrypi:\n", "raspberrypi:\n  soc: bcm2771\n", `field "raspberrypi.soc": "bcm2771" is not one of bcm2711, bcm2712, bcm2837; did you mean "bcm2711"?`},
		{"raspberrypi:\n", "raspberrypi:\n  soc: rk3588\n", `field "raspberrypi.soc": "rk3588" is not one of bcm2711, bcm2712, bcm2837`},
		{"raspberrypi:\n", "raspberrypi:\n  soc: bcm2837\n", `field "raspberrypi.deviceTrees[0]": "broadcom/bcm2711-rpi-4-b.dtb" is for another processor than bcm2837`},
		{"firmware: raspberrypi", "firmware: uefi", `field "raspberrypi": goes with`},
		{"suite: trixie", "suite: trixie\nsecureBoot: off", `field "secureBoot": goes with firmware: uefi only`},
		{"into: sd", "into: sdd", `field "label.plug[0].into": "sdd" is not one of audio, barrel, displayport, ethernet, hdmi, mains, micro-hdmi, micro-usb, sd, usb-a, usb-c; did you mean "sd"?`},
		{"kind: audio", "kind: jack", `field "label.sides[0].sockets[3].kind": "jack" is not one of`},
		{"at: [13, 12.5]", "at: [130, 12.5]", `field "label.sides[0].sockets[0].at": [130 12.5] is beside a side of [88 19]`},
		{"color: red", "color: pink", `field "label.leds[0].color": "pink" is not`},
		{"untested:", "checklist:\n  enter: F2\nuntested:", `field "checklist.enter": goes with set`},
		{"untested:", "checklist: {enter: F2, set: [{what: Boot, to: UEFI}]}\nuntested:", `field "checklist.set[0].why": is missing`},
		{"untested:", "booted: [{machine: Pi}]\nuntested:", `field "booted[0].machine": name the machine and the version`},
		{"untested:", "untested:\n  - ''", `field "untested[0]": is empty`},
		{"machine: raspi4b", "machine: raspi4b\n  drive: ide-hd", `field "qemu.drive": raspi4b has its own`},
		{"machine: raspi4b", "machine: raspi3b\n  drive: ide-hd", `field "qemu.drive": raspi3b has its own`},
		{"machine: raspi4b", "machine: raspi4b\n  network: e1000e", `field "qemu.network": raspi4b has its own`},
		{"machine: raspi4b", "machine: raspi4b\n  console: ttyS0", `field "qemu.console"`},
	} {
		text := strings.Replace(string(data), c.old, c.new, 1)
		text = strings.Replace(text, "name: rpi4", "name: b", 1)
		_, err := board.Load("b", fstest.MapFS{"b.yaml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.new, err, c.want)
		}
	}
}

// TestWhatStartsAPi: a Pi 3 reads all from its card, a Pi 5 nothing.
func TestWhatStartsAPi(t *testing.T) {
	data, err := boards.FS.ReadFile("rpi4.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for soc, want := range map[string]string{"bcm2837": "bootcode.bin start.elf fixup.dat", "bcm2711": "start4.elf fixup4.dat", "bcm2712": ""} {
		text := strings.NewReplacer("raspberrypi:\n", "raspberrypi:\n  soc: "+soc+"\n", "bcm2711-", soc+"-", "name: rpi4", "name: b").Replace(string(data))
		b, err := board.Load("b", fstest.MapFS{"b.yaml": {Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(b.Pi.Starters(), " "); got != want {
			t.Errorf("%s: %q, want %q", soc, got, want)
		}
	}
}

func TestWhoseSignatures(t *testing.T) {
	for name, want := range map[string]string{
		"debian": "", "off": "", "own": "", "debain": `did you mean "debian"?`, "yes": `"yes" is not one of`,
	} {
		data, err := boards.FS.ReadFile("generic-amd64.yaml")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("secureBoot: debian\nbios: true", "secureBoot: "+name, "name: generic-amd64", "name: b").Replace(string(data))
		b, err := board.Load("b", fstest.MapFS{"b.yaml": {Data: []byte(text)}})
		switch {
		case want == "" && (err != nil || string(b.SecureBoot) != name):
			t.Errorf("%s: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), `b.yaml:6: field "secureBoot": `) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

// TestNoBoardClaimsHardwareThatNobodySaw: the README's table says what the
// board does, and what has not booted says what is untested.
func TestNoBoardClaimsHardwareThatNobodySaw(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range board.Names(boards.FS) {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\|.*\\| (.*) \\|$").FindSubmatch(readme)
		if row == nil || string(row[1]) != b.BootedText() {
			t.Errorf("%s: the README's column %q must be %q", name, row, b.BootedText())
		}
		if len(b.Booted) == 0 && len(b.Untested) == 0 {
			t.Errorf("%s: booted nowhere, and nothing is untested?", name)
		}
		if b.Firmware == board.UEFI && len(b.Checklist.Set) == 0 {
			t.Errorf("%s: a machine with UEFI has settings to look at", name)
		}
	}
}

func FuzzBoard(f *testing.F) {
	for _, name := range board.Names(boards.FS) {
		data, _ := boards.FS.ReadFile(name + ".yaml")
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := board.Load("b", fstest.MapFS{"b.yaml": {Data: data}})
		if (b == nil) == (err == nil) {
			t.Fatalf("board %v, error %v", b, err)
		}
	})
}

// TestWhoHasABIOS: GRUB needs a kernel that lies beside its initramfs.
func TestWhoHasABIOS(t *testing.T) {
	for _, c := range []struct{ from, old, new, want string }{
		{"generic-amd64", "bios: true", "bios: true", ""},
		{"generic-amd64", "secureBoot: debian", "secureBoot: off", `b.yaml:7: field "bios": needs secureBoot: debian: `},
		{"generic-amd64", "secureBoot: debian\n", "", `b.yaml:6: field "bios": needs secureBoot: debian: `},
		{"generic-amd64", "bios: true", "bios: yes please", `b.yaml:7`},
		{"generic-arm64", "suite: trixie", "bios: true\nsuite: trixie", `field "bios": goes with firmware: uefi and arch: amd64 only`},
		{"generic-amd64", "  slot: 2GiB", "  slot: 2GiB\n  raw: [{file: a/b, offset: 32KiB}]", `field "disk.raw": goes without bios: GRUB lies there`},
		{"rpi4", "suite: trixie", "bios: true\nsuite: trixie", `field "bios": goes with firmware: uefi and arch: amd64 only`},
		{"optiplex-7050", "suite: trixie", "bios: true\nsuite: trixie", ""},
	} {
		data, err := boards.FS.ReadFile(c.from + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("name: "+c.from, "name: b", c.old, c.new).Replace(string(data))
		b, err := board.Load("b", fstest.MapFS{"b.yaml": {Data: []byte(text)}})
		switch {
		case c.want == "" && (err != nil || !b.BIOS):
			t.Errorf("%s, %s: %v", c.from, c.new, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s, %s: got %v, want %q", c.from, c.new, err, c.want)
		}
	}
}

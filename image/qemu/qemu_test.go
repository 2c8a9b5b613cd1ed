package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
)

func config(t *testing.T, name string) Config {
	t.Helper()
	b, err := board.Load(name, boards.FS)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, []byte("boot sector"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{Board: b, Image: image, Dir: dir, Accel: "tcg", SSHPort: 2222, Forward: map[int]int{6443: 6443, 80: 8080}}
}

func TestEachBoardGetsItsMachine(t *testing.T) {
	for name, want := range map[string][]string{
		"generic-amd64": {"qemu-system-x86_64", "-machine q35", "virtio-blk-pci", "virtio-net-pci"},
		"optiplex-7050": {"qemu-system-x86_64", "-machine q35", "ide-hd", "e1000e"},
		"generic-arm64": {"qemu-system-aarch64", "-machine virt", "AAVMF", "-accel tcg,thread=multi"},
	} {
		cmd, err := Command(t.Context(), config(t, name))
		if err != nil {
			t.Errorf("%s: %v (run `make deps`)", name, err)
			continue
		}
		line := strings.Join(cmd.Args, " ")
		for _, w := range append(want, "hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:80-:8080,hostfwd=tcp:127.0.0.1:6443-:6443") {
			if !strings.Contains(line, w) {
				t.Errorf("%s: no %q in %s", name, w, line)
			}
		}
	}
}

// TestQEMUsOwnFirmware is found beside its program, where no distribution has one: on Windows
// nothing else is there.
func TestQEMUsOwnFirmware(t *testing.T) {
	for _, u := range []uefi{ovmf, aavmf} {
		u.pairs = nil
		for bin, share := range map[string]string{".": "share", "bin": "share/qemu"} {
			root := t.TempDir()
			share = filepath.Join(root, filepath.FromSlash(share))
			if err := os.MkdirAll(share, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range u.own {
				if err := os.WriteFile(filepath.Join(share, name), []byte(name), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := Config{Dir: t.TempDir()}
			code, vars, err := c.firmware(u, filepath.Join(root, bin, "qemu-system-x"))
			if err != nil || code != filepath.Join(share, u.own[0]) {
				t.Errorf("%s, program in %s: %s, %v", u.arch, bin, code, err)
				continue
			}
			if text, err := os.ReadFile(vars); err != nil || string(text) != u.own[1] || filepath.Dir(vars) != c.Dir {
				t.Errorf("%s: the variables are %q in %s, %v", u.arch, text, vars, err)
			}
		}
	}
}

// TestSwitch: the second network card is connected to the given socket, and the first one
// reaches nothing.
func TestSwitch(t *testing.T) {
	c := config(t, "optiplex-7050")
	c.Switch, c.SwitchMAC, c.Restrict = "/run/lab/home,pi", "52:54:00:4c:41:01", true
	cmd, err := Command(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(cmd.Args, " ")
	for _, w := range []string{"stream,id=net1,server=off,addr.type=unix,addr.path=/run/lab/home,,pi", "e1000e,romfile=,netdev=net1,mac=52:54:00:4c:41:01", "restrict=on,ipv6=off"} {
		if !strings.Contains(line, w) {
			t.Errorf("no %q in %s", w, line)
		}
	}
}

// TestCommas: QEMU ends the value of an option at a comma, unless it is doubled.
func TestCommas(t *testing.T) {
	for _, name := range []string{"generic-amd64", "generic-arm64"} {
		c := config(t, name)
		c.Dir = filepath.Join(c.Dir, "a,b")
		if err := os.Mkdir(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c.QMP, c.Switch = filepath.Join(c.Dir, "qmp"), filepath.Join(c.Dir, "switch")
		cmd, err := Command(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		line, doubled := strings.Join(cmd.Args, " "), strings.Replace(c.Dir, "a,b", "a,,b", 1)
		for _, w := range []string{"file=%/disk.img,", "file=%/uefi-vars.fd,", "-qmp unix:%/qmp,", "addr.path=%/switch "} {
			if w = strings.ReplaceAll(w, "%", doubled); !strings.Contains(line, w) {
				t.Errorf("%s: no %q in %s", name, w, line)
			}
		}
		if strings.Contains(line, c.Dir) {
			t.Errorf("%s: a comma is not doubled in %s", name, line)
		}
	}
}

func TestSwitchOfAPi(t *testing.T) {
	for _, name := range []string{"rpi3", "rpi4"} {
		c := config(t, name)
		c.Switch = "/run/lab/pi"
		if _, err := Command(t.Context(), c); err == nil || !strings.Contains(err.Error(), "takes no second network card") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecureBootHasAStoreOfItsOwn(t *testing.T) {
	for name, want := range map[string][]string{
		"optiplex-7050": {"q35,smm=on", "property=secure,value=on", "OVMF_CODE_4M.ms.fd", "uefi-secure-vars.fd"},
		"generic-arm64": {"AAVMF_CODE.ms.fd", "uefi-secure-vars.fd"},
	} {
		c := config(t, name)
		if _, err := Command(t.Context(), c); err != nil { // leaves a store without keys
			t.Fatalf("%s: %v (run `make deps`)", name, err)
		}
		c.SecureBoot = true
		cmd, err := Command(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if line := strings.Join(cmd.Args, " "); !strings.Contains(line, w) {
				t.Errorf("%s: no %q in %s", name, w, line)
			}
		}
	}
	c := config(t, "rpi4")
	c.SecureBoot = true
	if _, err := Command(t.Context(), c); err == nil || !strings.Contains(err.Error(), "has no Secure Boot") {
		t.Errorf("rpi4: %v", err)
	}
}

func TestABIOSTakesThePlaceOfUEFI(t *testing.T) {
	c := config(t, "generic-amd64")
	c.BIOS = true
	cmd, err := Command(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Join(cmd.Args, " "); strings.Contains(line, "pflash") || !strings.Contains(line, "bootindex=1") {
		t.Errorf("no BIOS starts the disk by %s", line)
	}
	c.SecureBoot = true
	if _, err := Command(t.Context(), c); err == nil || !strings.Contains(err.Error(), "a BIOS has no Secure Boot") {
		t.Errorf("with Secure Boot: %v", err)
	}
	for _, name := range []string{"optiplex-7050", "generic-arm64", "rpi4"} {
		c := config(t, name)
		c.BIOS = true
		if _, err := Command(t.Context(), c); err == nil || !strings.Contains(err.Error(), "does not start by BIOS") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheGuestGetsACopyOfItsOwn(t *testing.T) {
	c := config(t, "generic-amd64")
	c.DiskSize = 8 << 20
	disk, err := Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(disk); err != nil || info.Size() != c.DiskSize {
		t.Errorf("got %v, %v", info, err)
	}
	if err := os.WriteFile(disk, []byte("changed by the guest"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Prepare(c)
	if data, _ := os.ReadFile(again); err != nil || string(data) != "changed by the guest" {
		t.Errorf("a second run began anew: %q, %v", data, err)
	}
	if data, _ := os.ReadFile(c.Image); string(data) != "boot sector" {
		t.Errorf("the image became %q", data)
	}
}

func TestCardsComeInPowersOfTwo(t *testing.T) {
	c := config(t, "rpi4")
	c.DiskSize = 5 << 30
	if size, err := c.diskSize(); err != nil || size != 8<<30 {
		t.Errorf("got %d, %v", size, err)
	}
	c.DiskSize = 4
	if _, err := c.diskSize(); err == nil || !strings.Contains(err.Error(), "smaller than") {
		t.Errorf("got %v", err)
	}
}

func TestABoardThatNothingEmulates(t *testing.T) {
	if _, err := Command(t.Context(), config(t, "rpi5")); err == nil || !strings.Contains(err.Error(), "board rpi5: QEMU has no such machine; its image starts on hardware only") {
		t.Errorf("got %v", err)
	}
}

func TestAnUnknownMachineIsAnError(t *testing.T) {
	c := config(t, "rpi4")
	c.Board.QEMU.Machine = "toaster"
	if _, err := Command(t.Context(), c); err == nil || !strings.Contains(err.Error(), `"toaster" cannot be emulated; known: q35, raspi3b, raspi4b, virt`) {
		t.Errorf("got %v", err)
	}
}

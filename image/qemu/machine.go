package qemu

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// machine describes one of QEMU's machine types.
type machine struct {
	binary, debian string
	powerOfTwo     bool // QEMU's SD cards need a size that is a power of two
	args           func(ctx context.Context, c Config, binary, disk string) ([]string, error)
}

// machines is a function, not a variable, as the functions in the table refer to it.
func machines() map[string]machine {
	return map[string]machine{
		"q35":     {binary: "qemu-system-x86_64", debian: "qemu-system-x86 ovmf", args: q35},
		"virt":    {binary: "qemu-system-aarch64", debian: "qemu-system-arm qemu-efi-aarch64", args: virt},
		"raspi3b": {binary: "qemu-system-aarch64", debian: "qemu-system-arm", powerOfTwo: true, args: raspi3b},
		"raspi4b": {binary: "qemu-system-aarch64", debian: "qemu-system-arm (9 or newer)", powerOfTwo: true, args: raspi4b},
	}
}

const defaultDisk = 8 << 30

func (c *Config) diskSize() (int64, error) {
	info, err := os.Stat(c.Image)
	if err != nil {
		return 0, err
	}
	size := c.DiskSize
	if size == 0 {
		size = max(defaultDisk, info.Size())
	}
	if size < info.Size() {
		return 0, fmt.Errorf("the emulated disk (%d bytes) is smaller than %s (%d bytes)", size, c.Image, info.Size())
	}
	if machines()[c.Board.QEMU.Machine].powerOfTwo && bits.OnesCount64(uint64(size)) != 1 {
		size = 1 << bits.Len64(uint64(size))
	}
	return size, nil
}

// q35 is a PC.
func q35(ctx context.Context, c Config, binary, disk string) ([]string, error) {
	kind := []string{"-machine", "q35"}
	if c.SecureBoot { // the key store may be written in system management mode only
		kind = []string{"-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"}
	}
	return c.server(ctx, binary, ovmf, disk, append(kind,
		"-global", "ICH9-LPC.noreboot=off", // so that the chipset's watchdog, iTCO_wdt, really resets
		"-device", "VGA", "-device", "virtio-rng-pci")...)
}

// virt is QEMU's generic Arm machine.
func virt(ctx context.Context, c Config, binary, disk string) ([]string, error) {
	return c.server(ctx, binary, aavmf, disk, "-machine", "virt",
		"-device", "virtio-gpu-pci", "-device", "virtio-rng-pci", "-device", "i6300esb")
}

// server adds to a UEFI machine what all of them need.
func (c *Config) server(ctx context.Context, binary string, u uefi, disk string, args ...string) ([]string, error) {
	var chips []string // without pflash QEMU starts SeaBIOS
	if !c.BIOS {
		code, vars, err := c.firmware(u, binary)
		if err != nil {
			return nil, err
		}
		chips = pflash(code, vars)
	}
	accel := c.Accel
	if accel == "" {
		accel = bestAccel(ctx, binary, u.arch)
	}
	args = append(args, "-accel", accelArg(accel), "-cpu", cpuFor(accel, c.Board.QEMU.CPU), "-smp", fmt.Sprint(c.cpus()))
	args = append(args, chips...)
	args = append(args, "-drive", drive(disk, "if=none,id=disk,cache=unsafe,discard=unmap"), "-netdev", c.netdev(),
		"-device", cmp.Or(c.Board.QEMU.Drive, "virtio-blk-pci")+",drive=disk,bootindex=1",
		"-device", c.card()+"netdev=net0")
	return append(args, c.plugged()...), nil
}

// Value is how a path is written in QEMU's options: a comma would end it.
func Value(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// drive is the value of -drive for a raw file.
func drive(file, options string) string { return "file=" + Value(file) + ",format=raw," + options }

func (c *Config) card() string {
	return cmp.Or(c.Board.QEMU.Network, "virtio-net-pci") + ",romfile=,"
}

// plugged is the second network card, if there is one (QEMU 7.2 or newer).
func (c *Config) plugged() []string {
	if c.Switch == "" {
		return nil
	}
	return []string{"-netdev", "stream,id=net1,server=off,addr.type=unix,addr.path=" + Value(c.Switch),
		"-device", c.card() + "netdev=net1,mac=" + c.SwitchMAC}
}

// raspi3b connects the card where QEMU's machine expects it: only the kernel could switch it
// between the two controllers of a Pi 3.
func raspi3b(_ context.Context, c Config, _, disk string) ([]string, error) {
	return c.pi("bcm2837-rpi-3-b.dtb", "-drive", drive(disk, "if=sd,cache=unsafe"))
}

// raspi4b connects the card to the third controller, which QEMU's machine leaves empty.
func raspi4b(_ context.Context, c Config, _, disk string) ([]string, error) {
	return c.pi("bcm2711-rpi-4-b.dtb", "-drive", drive(disk, "if=none,id=sd,cache=unsafe"),
		"-device", "sd-card,drive=sd,bus=/generic-sdhci/sd-bus")
}

// pi starts where the Pi's closed firmware would end: with U-Boot from the image, and with
// the image's device tree without the devices that QEMU does not emulate.
func (c *Config) pi(tree string, card ...string) ([]string, error) {
	if c.SecureBoot {
		return nil, fmt.Errorf("board %s: a Raspberry Pi has no Secure Boot", c.Board.Name)
	}
	if c.Switch != "" {
		return nil, fmt.Errorf("board %s: QEMU's Raspberry Pi takes no second network card", c.Board.Name)
	}
	uboot, dtb := filepath.Join(c.Dir, "u-boot.bin"), filepath.Join(c.Dir, tree)
	if err := piBootFiles(c.Image, uboot, dtb); err != nil {
		return nil, err
	}
	args := append([]string{"-machine", c.Board.QEMU.Machine, "-accel", accelArg("tcg"), "-kernel", uboot, "-dtb", dtb}, card...)
	return append(args, "-netdev", c.netdev(), // without a port QEMU inserts a hub, which Linux often loses
		"-device", "usb-net,id="+usbNetwork+",port=1,netdev=net0",
		"-qmp", "unix:"+Value(c.usbSocket())+",server=on,wait=off"), nil
}

func sortedKeys(m map[int]int) []int { return slices.Sorted(maps.Keys(m)) }

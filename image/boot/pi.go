package boot

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/tree"
)

const (
	piFirmwareDir = "usr/lib/raspi-firmware/"
	uBootFile     = "usr/lib/u-boot/rpi_arm64/u-boot.bin"
)

// RaspberryPi returns the boot partition of a new image for a Raspberry Pi:
// the firmware with its config.txt, device trees, U-Boot with the script that
// chooses the slot, and slot a.
func RaspberryPi(in Input) (*tree.Tree, error) {
	t, err := raspberryPi(in)
	if err == nil {
		err = lintConfig(t, in.Pi.Starters)
	}
	if err != nil {
		return nil, fmt.Errorf("boot partition of the Raspberry Pi: %w", err)
	}
	return t, nil
}

func raspberryPi(in Input) (*tree.Tree, error) {
	t := tree.New()
	if err := in.addCommon(t); err != nil {
		return nil, err
	}
	f := files{t: t, epoch: in.Epoch}
	if err := in.addFirmware(&f); err != nil {
		return nil, err
	}
	uboot, err := in.read(uBootFile, "add the package u-boot-rpi")
	if err != nil {
		return nil, err
	}
	if uboot, err = unattendedUBoot(uboot); err != nil {
		return nil, err
	}
	f.add("u-boot.bin", tree.Bytes(uboot))
	f.add(slot.ScriptFile, tree.Bytes(uBootScript(in.Epoch)))
	f.add(slot.GoodFile, tree.Bytes(slot.GoodEnv("a")))
	f.add(slot.TrialFile, tree.Bytes(slot.TrialEnv("", 0)))
	if f.err != nil {
		return nil, f.err
	}
	return t, in.addPiSlot(t, "a")
}

// addPiSlot adds one slot ("a" or "b"): NAME/vmlinuz, NAME/initrd.img,
// NAME/cmdline.txt.
func (in Input) addPiSlot(t *tree.Tree, name string) error {
	kernel, err := in.kernel()
	if err != nil {
		return err
	}
	packed, err := gzipped(kernel)
	if err != nil {
		return err
	}
	initrd, err := Initramfs(in)
	if err != nil {
		return err
	}
	f := files{t: t, epoch: in.Epoch}
	f.add(name+"/vmlinuz", tree.Bytes(packed))
	f.add(name+"/initrd.img", tree.Bytes(initrd))
	f.add(name+"/cmdline.txt", tree.String("bootargs="+in.cmdline(name)+"\n"))
	return f.err
}

// gzipped compresses a kernel for U-Boot: Debian's build of U-Boot supports gzip but not
// zstd, and reads 14 MB from a card much faster than 38.
func gzipped(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := codec.Gzip.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// bootsUBoot ends every config.txt. Its [all] ends a section of the board's lines, such as
// [pi4]; otherwise kernel= would apply to that Pi only, and another would look for
// kernel8.img.
const bootsUBoot = "[all]\nkernel=u-boot.bin\n"

// addFirmware adds config.txt and the files that it and the firmware need.
func (in Input) addFirmware(f *files) error {
	for _, name := range in.Pi.Firmware {
		c, err := in.content(piFirmwareDir+name, "add the package raspi-firmware")
		if err != nil {
			return err
		}
		f.add(path.Base(name), c)
	}
	for _, name := range in.Pi.DeviceTrees {
		c, err := in.deviceTree(name)
		if err != nil {
			return err
		}
		f.add(path.Base(name), c)
	}
	config := "# Made by imagebuilder; see the board file.\n" + strings.Join(in.Pi.Config, "\n") + "\n" + bootsUBoot
	f.add("config.txt", tree.String(config))
	for _, overlay := range configOverlays(config) {
		name := "overlays/" + overlay + ".dtbo"
		c, err := in.content(piFirmwareDir+name, "config.txt names this overlay, raspi-firmware would bring it")
		if err != nil {
			return err
		}
		f.add(name, c)
	}
	return f.err
}

// deviceTree returns a .dtb from where Debian's kernel packages put it: up to 6.12 below
// usr/lib/linux-image-*, from 7.x on beside the modules.
func (in Input) deviceTree(name string) (tree.Content, error) {
	old := "usr/lib/linux-image-" + in.Kernel + "/" + name
	if c, err := in.content(old, ""); err == nil {
		return c, nil
	}
	return in.content("usr/lib/modules/"+in.Kernel+"/dtb/"+name, "nor is it at /"+old+"; the kernel package brings it")
}

package boot

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/boot/fdt"
)

// qemuLacks are devices of the Pi 4 whose registers QEMU's raspi4b (10.0) does
// not have: their drivers bring the kernel down.
var qemuLacks = []string{
	"/soc/interrupt-controller@7ef00100",
	"/soc/clock@7ef00000",
	"/soc/i2c@7ef04500",
	"/soc/i2c@7ef09500",
	"/soc/hdmi@7ef00700",
	"/soc/hdmi@7ef05700",
	"/soc/serial@7e215040",
}

// QEMUDeviceTree changes the Pi 4's mainline device tree so that its kernel
// runs on QEMU's raspi4b. It is for emulation only and goes into no image.
// boot.cmd adds what it finds in /chosen to the kernel's arguments: the console
// is the PL011 there, and the watchdog must stay off, as QEMU resets the
// machine the moment it is armed (hw/misc/bcm2835_powermgt.c, 10.0). Its USB
// controller forgets what is plugged in when Linux lets it sleep.
func QEMUDeviceTree(dtb []byte) ([]byte, error) {
	t, err := fdt.Parse(dtb)
	if err != nil {
		return nil, err
	}
	for _, path := range qemuLacks {
		if n := t.Find(path); n != nil { // names come and go with kernels
			n.Set("status", []byte("disabled\x00"))
		}
	}
	uart, card, chosen := t.Find("/soc/serial@7e201000"), t.Find("/emmc2bus/mmc@7e340000"), t.Find("/chosen")
	if uart == nil || card == nil || chosen == nil {
		return nil, fmt.Errorf("this is not the device tree of a Raspberry Pi 4: it has no PL011, no emmc2 or no /chosen")
	}
	uart.DeleteChild("bluetooth")
	card.Delete("vmmc-supply")
	card.Delete("vqmmc-supply")
	if usb := t.Find("/soc/usb@7e980000"); usb != nil {
		// QEMU has no Ethernet for the Pi 4, only USB on the port that is a
		// device's on the board.
		usb.Set("dr_mode", []byte("host\x00"))
	}
	chosen.Set("stdout-path", []byte("serial0:115200n8\x00")) // U-Boot's console after its relocation
	chosen.Set("imagebuilder,bootargs", []byte("console=ttyAMA0,115200 "+contract.ArgWatchdog+"=0 usbcore.autosuspend=-1\x00"))
	return t.Bytes(), nil
}

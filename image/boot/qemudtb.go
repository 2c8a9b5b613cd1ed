package boot

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/dt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// qemuLacks are devices of the Pi 4 whose registers QEMU's raspi4b (10.0) does not have:
// their drivers would crash the kernel.
var qemuLacks = []string{
	"soc/interrupt-controller@7ef00100",
	"soc/clock@7ef00000",
	"soc/i2c@7ef04500",
	"soc/i2c@7ef09500",
	"soc/hdmi@7ef00700",
	"soc/hdmi@7ef05700",
	"soc/serial@7e215040",
}

// QEMUDeviceTree changes the mainline device tree of a Pi 3 or Pi 4 so that its kernel runs
// on QEMU's raspi3b or raspi4b. It is for emulation only and is never part of an image.
//
// boot.cmd adds what it finds in /chosen to the kernel arguments. The console there is the
// PL011. The watchdog must stay off, because QEMU resets the machine as soon as it is armed
// (hw/misc/bcm2835_powermgt.c, 10.0). USB autosuspend is off, because QEMU's USB controller
// forgets what is plugged in when Linux suspends it.
func QEMUDeviceTree(dtb []byte) ([]byte, error) {
	t, err := dt.ReadFDT(bytes.NewReader(dtb))
	if err != nil {
		return nil, err
	}
	for _, path := range qemuLacks {
		setProperty(t, path, "status", "disabled") // nodes come and go with kernel versions
	}
	uart, chosen := findNode(t, "soc/serial@7e201000"), findNode(t, "chosen")
	if uart == nil || chosen == nil {
		return nil, fmt.Errorf("this is not the device tree of a Raspberry Pi 3 or 4: it has no PL011 or no /chosen")
	}
	uart.Children = slices.DeleteFunc(uart.Children, func(n *dt.Node) bool { return n.Name == "bluetooth" })
	if card := findNode(t, "emmc2bus/mmc@7e340000"); card != nil { // the Pi 4's
		card.RemoveProperty("vmmc-supply")
		card.RemoveProperty("vqmmc-supply")
	}
	// QEMU has no Ethernet for these machines, only USB, on the port that is in device mode
	// on the Pi 4.
	setProperty(t, "soc/usb@7e980000", "dr_mode", "host")
	setProperty(t, "chosen", "stdout-path", "serial0:115200n8") // U-Boot's console once it has relocated itself
	setProperty(t, "chosen", "imagebuilder,bootargs", "console=ttyAMA0,115200 "+contract.ArgWatchdog+"=0 usbcore.autosuspend=-1")
	var out bytes.Buffer
	_, err = t.Write(&out)
	return out.Bytes(), err
}

// findNode returns the node at a path from the root, or nil.
func findNode(t *dt.FDT, path string) *dt.Node {
	n := t.RootNode
	for _, name := range strings.Split(path, "/") {
		child, ok := n.LookupChildByName(name)
		if !ok {
			return nil
		}
		n = child
	}
	return n
}

// setProperty sets a string property of a node, if the node exists.
func setProperty(t *dt.FDT, path, name, text string) {
	if n := findNode(t, path); n != nil {
		n.Update(dt.PropertyString(name, text))
	}
}

package qemu

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// QEMU's Raspberry Pis have no Ethernet, only a USB adapter on the dwc2 controller. When the
// first reset of the adapter's port ends, the controller drops the "connected" event if
// Linux has not seen it yet (hw/usb/hcd-dwc2.c, QEMU 10.0: HPRT0). From then on Linux
// answers every request with "Not connected". On a busy host that happens at every third
// boot, so the adapter has to be plugged in again.

// unaddressed matches QEMU's listing of the adapter while no driver has given it an address.
var unaddressed = regexp.MustCompile(`(?m)Device 0\.0,.*ID: ` + usbNetwork)

// usbNetwork is the adapter's name in QEMU.
const usbNetwork = "usbnet"

// patience is how long Linux may take from plugging in to the address.
const patience = 4 * time.Second

func (c *Config) usbSocket() string { return filepath.Join(c.Dir, "usb.sock") }

// Attend does for a running machine what a person would do for a real one, until ctx ends:
// it plugs in a Pi's network again if needed. For other machines it returns at once.
func Attend(ctx context.Context, c Config) {
	if !c.Board.QEMU.IsPi() {
		return
	}
	for ctx.Err() == nil {
		if c.usbIsDeaf() && ctxio.Sleep(ctx, patience) == nil && c.usbIsDeaf() {
			c.replug()
		}
		ctxio.Sleep(ctx, patience) // the loop looks whether ctx ended
	}
}

// usbIsDeaf says that the adapter has no address. It is also false while QEMU itself does
// not answer.
func (c *Config) usbIsDeaf() bool {
	answer, err := Execute(c.usbSocket(), "human-monitor-command", map[string]any{"command-line": "info usb"})
	var list string
	return err == nil && json.Unmarshal(answer, &list) == nil && unaddressed.MatchString(list)
}

// replug unplugs the adapter and plugs it in again. Errors are ignored, as Attend notices in
// its next round if this failed.
func (c *Config) replug() {
	_, _ = Execute(c.usbSocket(), "device_del", map[string]any{"id": usbNetwork})
	_, _ = Execute(c.usbSocket(), "device_add", map[string]any{"driver": "usb-net", "id": usbNetwork, "netdev": "net0", "port": "1"})
}

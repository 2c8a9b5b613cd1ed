package qemu

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"time"
)

// QEMU's Raspberry Pis have no Ethernet, only a USB adapter on the dwc2
// controller. Ending the first reset of its port drops the "connected" event if
// Linux has not seen it yet (hw/usb/hcd-dwc2.c, QEMU 10.0: HPRT0), and then
// Linux answers every request with "Not connected" for good. On a busy host
// that is every third boot, so somebody has to plug the adapter in again.

// unaddressed is how the monitor lists a device that no driver has given an
// address to.
var unaddressed = regexp.MustCompile(`(?m)Device 0\.0,.*ID: ` + usbNetwork)

// usbNetwork is the adapter's name in QEMU.
const usbNetwork = "usbnet"

// patience is how long Linux may take from the plug to the address.
const patience = 4 * time.Second

func (c *Config) usbSocket() string { return filepath.Join(c.Dir, "usb.sock") }

// Attend does for a running machine what hands would do for a real one, until
// ctx ends: it sees to it that a Pi's network is plugged in. Other machines
// need none.
func Attend(ctx context.Context, c Config) {
	if !c.Board.QEMU.IsPi() {
		return
	}
	for ctx.Err() == nil {
		if c.usbIsDeaf() && wait(ctx, patience) && c.usbIsDeaf() {
			c.replug()
		}
		wait(ctx, patience)
	}
}

// usbIsDeaf is false also while QEMU itself does not answer.
func (c *Config) usbIsDeaf() bool {
	answer, err := Execute(c.usbSocket(), "human-monitor-command", map[string]any{"command-line": "info usb"})
	var list string
	return err == nil && json.Unmarshal(answer, &list) == nil && unaddressed.MatchString(list)
}

// replug pulls the adapter and plugs it in again. A fault is seen, and answered,
// the next time around.
func (c *Config) replug() {
	_, _ = Execute(c.usbSocket(), "device_del", map[string]any{"id": usbNetwork})
	_, _ = Execute(c.usbSocket(), "device_add", map[string]any{"driver": "usb-net", "id": usbNetwork, "netdev": "net0", "port": "1"})
}

// wait returns false if ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

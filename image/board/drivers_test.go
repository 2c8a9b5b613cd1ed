package board_test

import (
	"slices"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
)

// TestNarrowDriversComeAlong: some drivers leave devices of their class to a narrower one,
// which depends on them and so never comes by itself.
func TestNarrowDriversComeAlong(t *testing.T) {
	for _, name := range board.Names(boards.FS) {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		for wide, narrow := range map[string]string{"xhci-pci": "xhci-pci-renesas", "usb-storage": "ums-realtek"} {
			if slices.Contains(b.Kernel.Initramfs, wide) && !slices.Contains(b.Kernel.Initramfs, narrow) {
				t.Errorf("%s: has %s without %s, so a disk behind that is not found", name, wide, narrow)
			}
		}
	}
}

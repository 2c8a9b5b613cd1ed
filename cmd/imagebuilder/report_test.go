package main

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/hardware"
)

// TestFirmwareThatNobodyHas is told apart from what an image lacks: the Wi-Fi of every Pi asks
// for such a file first, and works without.
func TestFirmwareThatNobodyHas(t *testing.T) {
	told := func(found ...hardware.Finding) string {
		var out strings.Builder
		if err := printFindings(&out, judged{Report: &contract.Report{}, Image: "rpi4.img", Findings: found}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	const asked, lacks = "brcm/brcmfmac43455-sdio.raspberrypi,4-model-b.bin", "Missing in rpi4.img\n"
	nobodys := hardware.Finding{Firmware: asked}
	if out := told(nobodys); strings.Contains(out, lacks) || !strings.Contains(out, "do without; add what is needed with an overlay\n  "+asked) || !strings.Contains(out, "lacks nothing that Debian has for this machine") {
		t.Error(out)
	}
	if out := told(nobodys, hardware.Finding{Firmware: "regulatory.db", Package: "wireless-regdb"}); !strings.Contains(out, lacks+"  firmware regulatory.db\n") || strings.Contains(out, "lacks nothing") {
		t.Error(out)
	}
	if out := told(); !strings.Contains(out, "lacks nothing that this machine asks for") {
		t.Error(out)
	}
}

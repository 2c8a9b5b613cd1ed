package hardware_test

import (
	"path"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/hardware"
	"github.com/going-mobile/imagebuilder/image/tree"
)

func root(t *testing.T, paths ...string) *tree.Tree {
	t.Helper()
	r := tree.New()
	for _, p := range paths {
		if err := r.MkdirAll(path.Dir(p), time.Time{}, "test"); err != nil {
			t.Fatal(err)
		}
		if err := r.Add(&tree.Node{Path: p, Mode: 0o644, Content: tree.String("x"), Source: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func drivers(modalias string) []string {
	return map[string][]string{"sdio:wifi": {"brcmfmac"}, "usb:net": {"cdc_ether", "r8152"}, "pci:sound": {"snd_hda_intel"}, "pci:sound2": {"snd_hda_intel"}}[modalias]
}

func TestWhatAReportAsksForAndAnImageLacks(t *testing.T) {
	r := &contract.Report{
		Devices: []contract.Device{{Modalias: "sdio:wifi"}, {Modalias: "usb:net"}, {Modalias: "pci:sound"}, {Modalias: "pci:sound2"},
			{Modalias: "usb:net", Driver: "r8152"}, {Modalias: "acpi:nobody"}},
		Firmware: []string{"brcm/brcmfmac43456-sdio.bin", "rtl_nic/rtl8168g-2.fw", "ath9k_htc/htc_9271-1.4.0.fw", "brcm/BCM4345C0.hcd", "regulatory.db", "maker/thing.bin"},
	}
	have := root(t, "usr/lib/modules/6.12/kernel/net/cdc-ether.ko.xz", "usr/lib/firmware/brcm/brcmfmac43456-sdio.bin")
	lists := &hardware.List{Without: map[string]string{"snd_hda_intel": "a node is silent"}}
	want := []hardware.Finding{
		{Module: "brcmfmac", For: []string{"sdio:wifi"}, Package: "linux-image-6.12"},
		{Module: "r8152", For: []string{"usb:net"}, Package: "linux-image-6.12"},
		{Module: "snd_hda_intel", For: []string{"pci:sound", "pci:sound2"}, Package: "linux-image-6.12", Reason: "a node is silent"},
		{Firmware: "rtl_nic/rtl8168g-2.fw", Package: "firmware-realtek"},
		{Firmware: "ath9k_htc/htc_9271-1.4.0.fw", Package: "firmware-ath9k-htc"},
		{Firmware: "brcm/BCM4345C0.hcd", Package: "bluez-firmware"}, // others there are firmware-brcm80211's
		{Firmware: "regulatory.db", Package: "wireless-regdb"},
		{Firmware: "maker/thing.bin"},
	}
	if got := hardware.Judge(r, have, drivers, "linux-image-6.12", lists); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	whole := root(t, "usr/lib/modules/6.12/a/cdc_ether.ko", "usr/lib/modules/6.12/a/r8152.ko", "usr/lib/modules/6.12/a/brcmfmac.ko", "usr/lib/modules/6.12/a/snd-hda-intel.ko")
	r.Firmware = nil
	if got := hardware.Judge(r, whole, drivers, "linux-image-6.12", lists); got != nil {
		t.Errorf("nothing is missing: %+v", got)
	}
}

// TestAReportBecomesAList that is read as those of people are.
func TestAReportBecomesAList(t *testing.T) {
	r := &contract.Report{
		Machine: []contract.Fact{{Name: contract.FactModel, Value: "Raspberry Pi 400"}},
		Devices: []contract.Device{{Modalias: "usb:b"}, {Modalias: "dmi:bvn a:b"}, {Modalias: "usb:b", Driver: "hub"},
			{Modalias: "platform:Fixed MDIO bus"}, {Modalias: "without: e1000e - a stranger says so"}, {Modalias: "firmware: a/b.bin"}},
		// What the drivers of a Pi 4 with Wi-Fi ask for first is in no package, and the Wi-Fi works without.
		Firmware: []string{"brcm/brcmfmac43455-sdio.raspberrypi,4-model-b.bin", "brcm/brcmfmac43456-sdio.bin"},
	}
	text := hardware.FromReport(r)
	l, err := hardware.ParseList("x.modalias", text)
	if err != nil || !reflect.DeepEqual(l.Modalias, []string{"dmi:bvn a:b", "usb:b"}) || !reflect.DeepEqual(l.Firmware, []string{"brcm/brcmfmac43456-sdio.bin"}) || len(l.Without) > 0 {
		t.Errorf("%+v, %v\n%s", l, err, text)
	}
	if !strings.HasPrefix(string(text), "# Raspberry Pi 400, from its own report") {
		t.Errorf("%s", text)
	}
}

func TestLists(t *testing.T) {
	l, err := hardware.Lists(boards.Hardware, "optiplex-7050")
	if err != nil || l.Without["snd_hda_intel"] != "a node is silent" || len(l.Modalias) < 20 {
		t.Errorf("%+v, %v", l, err)
	}
	bad := fstest.MapFS{"hardware/x/y.modalias": {Data: []byte("# fine\npci: what is this\n")}}
	if _, err := hardware.Lists(bad, "x"); err == nil || !strings.Contains(err.Error(), "hardware/x/y.modalias:2: ") {
		t.Error(err)
	}
}

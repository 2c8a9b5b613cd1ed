package report_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/report"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// pi is what a Pi 4 with a broken Wi-Fi shows below /.
var pi = map[string]string{
	contract.BootDir + "/" + contract.LabelFile:                                `{"board": "rpi4", "imageVersion": "2026.1"}`,
	contract.StateFile:                                                         `{"slot": "a", "clockSet": true}`,
	"proc/sys/kernel/osrelease":                                                "6.12.57+deb13-arm64\n",
	"proc/device-tree/model":                                                   "Raspberry Pi 4 Model B Rev 1.4\x00",
	"proc/device-tree/serial-number":                                           "10000000deadbeef\x00",
	"proc/device-tree/chosen/u-boot,version":                                   "2025.01-3+deb13u1\x00",
	"proc/device-tree/system/linux,revision":                                   "\x00\xc0\x31\x14",
	"proc/device-tree/chosen/bootloader/version":                               "f8a8bd5\x00",
	"proc/device-tree/chosen/bootloader/build-timestamp":                       "\x63\xc8\x0a\x01",
	"proc/meminfo":                                                             "MemTotal:        3884392 kB\n",
	"sys/class/watchdog/watchdog0/identity":                                    "Broadcom BCM2835 Watchdog timer\n",
	"sys/class/watchdog/watchdog0/state":                                       "active\n",
	"sys/class/watchdog/watchdog0/timeout":                                     "15\n",
	"sys/class/watchdog/watchdog0/bootstatus":                                  "32\n",
	"sys/class/drm/card0-HDMI-A-1/status":                                      "disconnected\n",
	"sys/bus/pci/devices/0000:00:17.0/remapped_nvme":                           "1\n",
	"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\x06\x00\x00\x00\x01",
	"sys/devices/platform/emmc/modalias":                                       "of:NmmcT(null)Cbrcm,bcm2711-emmc2\n",
	"sys/devices/platform/emmc/mmc1/modalias":                                  "sdio:c00v02D0dA9BF\n",
	"sys/devices/pci0/usb1/modalias":                                           "usb:v2109p3431\n",
	"sys/devices/pci0/usb2/modalias":                                           "usb:v2109p3431\n",
	"sys/devices/platform/eth/net/end0/operstate":                              "up\n",
	"sys/devices/platform/eth/net/end0/speed":                                  "1000\n",
	"sys/devices/platform/eth/net/end0/address":                                "dc:a6:32:01:02:03\n",
	"sys/devices/platform/eth/net/end0/queues/tx-0/tx_timeout":                 "3\n",
	"sys/devices/pci0/usb1/net/enx00e04c123456/operstate":                      "down\n",
	"sys/devices/platform/emmc/mmc1/block/mmcblk1/size":                        "62333952\n",
	"sys/devices/platform/emmc/mmc1/name":                                      "SD32G\n",
}

func machineOf(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range pi {
		at := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"sys/devices/platform/emmc/driver":                    "../../../bus/platform/drivers/sdhci-iproc",
		"sys/devices/pci0/usb1/driver":                        "../../../bus/usb/drivers/hub",
		"sys/devices/platform/eth/driver":                     "../../../bus/platform/drivers/bcmgenet",
		"sys/devices/platform/eth/net/end0/device":            "../../../eth",
		"sys/devices/pci0/usb1/net/enx00e04c123456/device":    "../..",
		"sys/class/net/enx00e04c123456":                       "../../devices/pci0/usb1/net/enx00e04c123456",
		"sys/class/net/end0":                                  "../../devices/platform/eth/net/end0",
		"sys/devices/platform/emmc/mmc1/block/mmcblk1/device": "../..",
		"sys/block/mmcblk1":                                   "../devices/platform/emmc/mmc1/block/mmcblk1",
	} {
		at := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(to, at)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// systemd answers for both programs.
type systemd struct{ log string }

func (s systemd) Run(_ context.Context, argv ...string) (string, error) {
	if argv[0] == "systemctl" {
		return "wpa_supplicant@wlx00e04c123456.service loaded failed failed WPA supplicant\n", nil
	}
	return s.log, nil
}

var now = time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC)

func TestAMachineIsTold(t *testing.T) {
	log := "brcmfmac mmc1:0001:1: Direct firmware load for brcm/brcmfmac43456-sdio.bin failed with error -2\n" +
		"brcmfmac mmc1:0001:1: Direct firmware load for brcm/brcmfmac43456-sdio.bin failed with error -2\n" +
		"bcmgenet fd580000.ethernet end0: using dc:a6:32:01:02:03\n" +
		"drop IN=end0 SRC=192.0.2.1 DST=192.0.2.2\n" +
		"nfs: server 192.0.2.7 not responding, timed out\n" +
		"IPv4: martian source from 192.0.2.9, on dev end0\n" +
		"nfs: server attic.example not responding, timed out\n" +
		"libceph: mon0 (1)[2001:db8::17:1]:6789 session lost, dev:fe80::dea6:32ff:fe01:203. Gone\n" +
		"r8152 2-1:1.0 enx00e04c123456: Tx timeout, wlx00e04c123456\n" +
		"usb 1-1: SerialNumber: SN00deadbeef, pci 0000:00:17.0: [8086:31e3] at 12:34:56\n"
	r := report.Collect(t.Context(), machineOf(t), systemd{log}, now)
	for name, want := range map[string]string{
		contract.FactBoard: "rpi4", contract.FactImage: "2026.1", contract.FactKernel: "6.12.57+deb13-arm64", contract.FactTime: "2026-11-29T01:02:03Z",
		"slot": "a", "clock": "was before the build and set to it",
		contract.FactModel: "Raspberry Pi 4 Model B Rev 1.4", "revision": "0xc03114", contract.FactUBoot: "2025.01-3+deb13u1", "EEPROM version": "f8a8bd5", "EEPROM build-timestamp": "0x63c80a01",
		"memory": "3884392 kB", "Secure Boot": "on", "NVMe disks behind the SATA controller": "1", "screen card0-HDMI-A-1": "disconnected",
		"watchdog0": "Broadcom BCM2835 Watchdog timer, active, 15 s, bootstatus 32",
		"end0":      "bcmgenet, up, 1000 Mbit/s, tx-0 stood still 3 times",
		"mmcblk1":   "SD32G, 62333952 sectors, on mmc",
	} {
		all := append(append(append(append([]contract.Fact{}, r.Head...), r.Machine...), r.Network...), r.Disks...)
		if got := contract.Find(all, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	want := []contract.Device{{Modalias: "sdio:c00v02D0dA9BF"}, {Modalias: "usb:v2109p3431"}, {Modalias: "of:NmmcT(null)Cbrcm,bcm2711-emmc2", Driver: "sdhci-iproc"}}
	if !reflect.DeepEqual(r.Devices, want) {
		t.Errorf("%+v", r.Devices)
	}
	if !reflect.DeepEqual(r.Firmware, []string{"brcm/brcmfmac43456-sdio.bin"}) || !reflect.DeepEqual(r.Failed, []string{"wpa_supplicant@wlx00e04cxxxxxx.service"}) || len(r.Kernel) != 8 {
		t.Errorf("%+v", r)
	}
	text, err := report.Text(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{"01:02:03\r", "dc:a6:32:01", "deadbeef", "192.0.2", "attic", "2001:db8", "fe80", "4c123456"} {
		if strings.Contains(string(text), private) {
			t.Errorf("%q is its owner's alone:\n%s", private, text)
		}
	}
	for _, kept := range []string{"enx00e04cxxxxxx: hub, down", "wpa_supplicant@wlx00e04cxxxxxx.service", "pci 0000:00:17.0: [8086:31e3] at 12:34:56", "[x::x]:6789 session lost, dev:x::x. Gone", "nfs: server x not responding"} {
		if !strings.Contains(string(text), kept) {
			t.Errorf("it lacks %q:\n%s", kept, text)
		}
	}
	if _, err := contract.ParseReport(contract.PadReport(text)); err != nil {
		t.Error(err)
	}
}

// TestTheLastWarningsAreKept where there are too many.
func TestTheLastWarningsAreKept(t *testing.T) {
	var log strings.Builder
	for i := range 500 {
		fmt.Fprintf(&log, "warning %d\n", i)
	}
	r := report.Collect(t.Context(), t.TempDir(), systemd{log.String()}, now)
	if n := len(r.Kernel); n != 400 || r.Kernel[0] != "warning 100" || r.Kernel[n-1] != "warning 499" {
		t.Errorf("%d, from %q", n, r.Kernel[0])
	}
}

// TestNoSecretLeavesTheNode: what looks like a secret is left out, and one of this node's own
// secrets stops the report.
func TestNoSecretLeavesTheNode(t *testing.T) {
	r := report.Collect(t.Context(), machineOf(t), systemd{"wlan0: psk=XYZZY-looks\nwlan1: psk\x01=XYZZY-shown\ninit: opened correct horse\n"}, now)
	text, err := report.Text(r, nil)
	if err != nil || strings.Contains(string(text), "XYZZY") || !strings.Contains(string(text), "opened correct horse") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, own := range []secret.String{
		"correct horse", "correct \t horse", "correct horse\n",
		"short\r\nwhose line is opened correct horse\r\n", "-----\n  init: opened correct horse\n-----\n",
	} {
		text, err := report.Text(r, []secret.String{"another", own})
		found := !strings.Contains(own.Reveal(), "whose")
		if (err != nil) != found || (text == nil) != found || found && strings.Contains(err.Error(), "horse") {
			t.Errorf("%q: %v", own.Reveal(), err)
		}
	}
	for _, harmless := range []secret.String{"horse", "Raspberry\nwatchdog0\n"} {
		if _, err := report.Text(r, []secret.String{harmless}); err != nil {
			t.Errorf("%q: %v", harmless.Reveal(), err)
		}
	}
}

// TestABareMachineHasAReport too.
func TestABareMachineHasAReport(t *testing.T) {
	text, err := report.Text(report.Collect(t.Context(), t.TempDir(), systemd{}, now), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := contract.ParseReport(text); err != nil || contract.Find(r.Head, contract.FactBoard) != "unknown" {
		t.Errorf("%+v, %v", r, err)
	}
}

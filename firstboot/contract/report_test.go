package contract_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

func aReport() contract.Report {
	return contract.Report{
		Head:     []contract.Fact{{Name: contract.FactBoard, Value: "rpi4"}, {Name: contract.FactKernel, Value: "6.12.57+deb13-arm64"}},
		Machine:  []contract.Fact{{Name: contract.FactModel, Value: "Raspberry Pi 4 Model B Rev 1.4"}},
		Devices:  []contract.Device{{Modalias: "sdio:c00v02D0dA9BF"}, {Modalias: "usb:v2109p3431", Driver: "hub"}},
		Firmware: []string{"brcm/brcmfmac43455-sdio.bin"},
		Failed:   []string{"wpa_supplicant@wlan0.service"},
		Disks:    []contract.Fact{}, Network: []contract.Fact{}, Waiting: []string{},
		Kernel: []string{"brcmfmac: no\tfirmware", "[Firmware Bug]: x", "hwmon: \x1b[1mhot\u009b31m\u202e"},
	}
}

// TestAReportIsReadAsItWasWritten, padded and not, with other line ends.
func TestAReportIsReadAsItWasWritten(t *testing.T) {
	text, err := aReport().Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := aReport()
	want.Kernel = []string{"brcmfmac: no firmware", "[Firmware Bug]: x", "hwmon: [1mhot 31m"}
	padded := contract.PadReport(text)
	if len(padded) != contract.ReportSize || !strings.HasSuffix(string(padded), "  \r\n") {
		t.Errorf("%d bytes", len(padded))
	}
	for _, data := range []string{string(text), string(padded), strings.ReplaceAll(string(text), "\r\n", "\n"), string(text) + "\x00\x00"} {
		if got, err := contract.ParseReport([]byte(data)); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	later := strings.Replace(string(text), "[devices]", "[smells]\r\nof smoke\r\n[devices]", 1)
	later = strings.Replace(later, "lines: 29", "lines: 31", 1)
	if got, err := contract.ParseReport([]byte(later)); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("a later version's: %+v, %v", got, err)
	}
}

// TestAReportOfLittle: what is empty is an empty list in JSON, not null.
func TestAReportOfLittle(t *testing.T) {
	text, err := contract.Report{Head: []contract.Fact{{Name: contract.FactBoard, Value: "rpi4"}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r, err := contract.ParseReport(text)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := json.Marshal(r); err != nil || strings.Contains(string(out), "null") {
		t.Errorf("%s, %v", out, err)
	}
}

// TestALongReportLosesItsOldestWarnings and nothing else.
func TestALongReportLosesItsOldestWarnings(t *testing.T) {
	r := aReport()
	for range 2000 {
		r.Kernel = append(r.Kernel, strings.Repeat("w", 200))
	}
	r.Kernel = append(r.Kernel, "the last")
	text, err := r.Encode()
	if err != nil || len(text) > contract.ReportSize-2 {
		t.Fatal(len(text), err)
	}
	got, err := contract.ParseReport(contract.PadReport(text))
	if err != nil || len(got.Devices) != 2 || len(got.Kernel) < 100 || got.Kernel[len(got.Kernel)-1] != "the last" {
		t.Errorf("%d warnings, %v", len(got.Kernel), err)
	}
	for range 5000 {
		r.Devices = append(r.Devices, contract.Device{Modalias: "pci:" + strings.Repeat("v", 50)})
	}
	if _, err := r.Encode(); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Error(err)
	}
}

// TestASecretIsNeitherWrittenNorRead, and the refusal does not tell it.
func TestASecretIsNeitherWrittenNorRead(t *testing.T) {
	clean, err := aReport().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{
		"key hskey-auth-XYZZY-1", "tskey-auth-XYZZY", "K10" + strings.Repeat("0f", 32) + "::server:XYZZY", "AGE-SECRET-KEY-1XYZZY",
		"-----BEGIN OPENSSH PRIVATE KEY-----", "wpa: psk=XYZZY", "Password: XYZZY", "authKey: XYZZY", "token=XYZZY",
		"wpa_psk=XYZZY", "K3S_TOKEN=XYZZY", "access_token=XYZZY", "client_secret=XYZZY", `"password": "XYZZY"`, "passphrase = 'XYZZY'",
	} {
		r := aReport()
		r.Kernel = append(r.Kernel, secret)
		if text, err := r.Encode(); err == nil || text != nil || !strings.Contains(err.Error(), "looks like a password or key") || strings.Contains(err.Error(), "XYZZY") {
			t.Errorf("written: %s: %v", secret, err)
		}
		text := strings.Replace(string(clean), "hwmon: [1mhot 31m", secret, 1)
		if _, err := contract.ParseReport([]byte(text)); err == nil || !strings.Contains(err.Error(), "looks like a password or key") || strings.Contains(err.Error(), "XYZZY") {
			t.Errorf("read: %s: %v", secret, err)
		}
	}
	for _, harmless := range []string{"Key type asymmetric registered", "usb 1-1: New USB device strings: Mfr=1", "token ring: not there", "password:", `secret=""`, "pci:v00008086d00001912sv00001028"} {
		if contract.LooksSecret(harmless) {
			t.Errorf("%q is no secret", harmless)
		}
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	whole, err := aReport().Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := string(whole)
	for data, want := range map[string]string{
		"":                            "is no report of a node",
		"This node was never started": "is no report of a node",
		text[:len(text)/2]:            "is cut short or its lines were broken",
		text[:len(text)-4]:            "is cut short",
		strings.Replace(text, "sdio:", "\r\nsdio:", 1):              "its lines were broken",
		strings.Replace(text, "- sdio:c00", "nothing-of-a-kind", 1): "want DRIVER MODALIAS",
		strings.Replace(text, "board: rpi4", "bread: rpi4", 1):      "it names no board",
	} {
		if _, err := contract.ParseReport([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", data, err, want)
		}
	}
	if _, err := contract.ParseReport([]byte("x")); !errors.Is(err, contract.ErrNoReport) {
		t.Error(err)
	}
}

// FuzzReport: what was read is written so that it is read again, to the letter.
// The frame is ours: a fuzzer finds no lines whose count is right.
func FuzzReport(f *testing.F) {
	text, _ := aReport().Encode()
	_, body, _ := strings.Cut(string(text), "\r\n")
	body, _, _ = strings.Cut(body, "end of report")
	f.Add([]byte(body))
	f.Add([]byte("[image]\nboard: x\nno value: \n\x01: y\n[devices]\n\x02 a:b\n- c:d\n[kernel warnings]\n [x]\n\x03\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		whole := strings.ReplaceAll("imagebuilder report 1\n"+string(body)+"\n", "\r\n", "\n")
		r, err := contract.ParseReport(fmt.Appendf(nil, "%send of report, lines: %d", whole, strings.Count(whole, "\n")-1))
		if err != nil || len(body) > contract.ReportSize/4 {
			return
		}
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := contract.ParseReport(text); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%v: from %q, then %q, then %q", err, r, text, again)
		}
	})
}

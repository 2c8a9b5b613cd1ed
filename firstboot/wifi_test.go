package firstboot_test

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestWiFiIsTakenAway: a Wi-Fi that node.yaml names no more is left, and its passphrase
// with it; one whose passphrase sealing has taken stays.
func TestWiFiIsTakenAway(t *testing.T) {
	const file, unit = "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf", "wpa_supplicant@wlan0.service"
	w := crashWorld(t)
	withWiFi(w)
	boots := func() (restarts int) {
		w.names = nil
		if s, _ := w.boot(anyProblem); s.State != firstboot.Joined || s.Notice != nil {
			t.Fatal(s.Line())
		}
		return len(slices.DeleteFunc(w.names, func(call string) bool { return call != "restart "+unit }))
	}
	if n := boots(); n != 1 || !strings.Contains(w.text(file), "wifi psk secret") {
		t.Errorf("%d restarts, %q", n, w.text(file))
	}
	if strings.Contains(w.bootYAML(), "wifi psk") || !strings.Contains(w.bootYAML(), "the shed") {
		t.Fatalf("sealed as:\n%s", w.bootYAML())
	}
	w.reboot()
	w.units[unit] = true
	if n := boots(); n != 0 || !strings.Contains(w.text(file), "wifi psk secret") {
		t.Errorf("sealed: %d restarts, %q", n, w.text(file))
	}
	without := regexp.MustCompile(`(?m)^  wifi:\n(?:    .*\n)+`).ReplaceAllString(strings.TrimRight(w.bootYAML(), "\n")+"\n", "")
	w.personalise(without)
	if n := boots(); n != 1 || w.files[file] != nil {
		t.Errorf("taken away: %d restarts, %q, of\n%s", n, w.text(file), without)
	}
	if n := boots(); n != 0 {
		t.Errorf("and again: %d restarts", n)
	}
}

// TestOpenWiFi: a network without a password is joined, and one with a password that it
// replaces is left; so is one that somebody replaces by hand in a sealed node.yaml.
func TestOpenWiFi(t *testing.T) {
	const file = "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
	w := crashWorld(t)
	boot := func(why, ssid, key string) {
		t.Helper()
		if s, _ := w.boot(anyProblem); s.State != firstboot.Joined || s.Notice != nil {
			t.Fatal(why, s.Line())
		}
		want := "network={\n\tssid=" + hex.EncodeToString([]byte(ssid)) + "\n\tscan_ssid=1\n\t" + key
		if have := w.text(file); !strings.Contains(have, want) {
			t.Errorf("%s: %s, want %s", why, have, want)
		}
		w.reboot()
	}
	const open, closed = "key_mgmt=NONE\n}\n", "key_mgmt=WPA-PSK SAE\n"
	withWiFi(w)
	boot("with a password", "the shed", closed)
	boot("sealed", "the shed", closed)
	replace("  ntp:", "  wifi: {country: DE, ssid: the shed}\n  ntp:")(w)
	boot("open", "the shed", open)
	boot("open and sealed", "the shed", open)
	withWiFi(w)
	boot("with a password again", "the shed", closed)
	w.personalise(strings.Replace(strings.TrimRight(w.bootYAML(), "\n"), "the shed", "guests", 1))
	boot("another in a sealed file", "guests", open)
	delete(w.files, file)
	boot("the first in a sealed file", "guests", open)
}

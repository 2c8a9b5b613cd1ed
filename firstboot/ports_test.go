package firstboot_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/overlays"
)

// TestNamedPortsAreAsOthers: a port that node.yaml names has every setting of the image's own
// file for its kind, which its own file replaces: its lease goes by its address, and the
// Wi-Fi is for when there is no cable.
func TestNamedPortsAreAsOthers(t *testing.T) {
	const dir = "files/usr/lib/systemd/network/"
	wired, radio := imageSettings(t, "base/"+dir+"80-imagebuilder-wired.network"), imageSettings(t, "wifi/"+dir+"80-imagebuilder-wlan.network")
	own := "  interfaces: [{name: eth0, addresses: [192.168.1.20/24], gateway: 192.168.1.1, dns: [192.168.1.1]}]"
	for _, c := range []struct {
		port string
		want []string
	}{
		{"name: eth0, dns: [192.168.1.1]", wired},
		{"name: en*", wired},
		{"name: eth0, vlan: 5", wired},
		{"name: wlan0", radio},
		{`name: "wl*"`, radio},
		{"name: eth0, addresses: [10.0.0.2/24], gateway: 10.0.0.1", append(withoutDHCP(wired), "Network Gateway=10.0.0.1")},
		{"name: wlan0, addresses: [10.0.0.2/24], gateway: 10.0.0.1", append(withoutDHCP(radio), "Route Gateway=10.0.0.1", "Route Metric=2048")},
	} {
		w := crashWorld(t)
		replace(own, "  interfaces: [{"+c.port+"}]")(w)
		w.boot(anyProblem)
		have := settings(w.text("/etc/systemd/network/10-imagebuilder-00.network"))
		for _, want := range c.want {
			if !slices.Contains(have, want) {
				t.Errorf("%s: no %q in %q", c.port, want, have)
			}
		}
	}
}

// imageSettings are those of a file of the image, but for what it is about.
func imageSettings(t *testing.T, name string) []string {
	text, err := fs.ReadFile(overlays.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(settings(string(text)), func(s string) bool { return strings.HasPrefix(s, "Match ") })
}

func withoutDHCP(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return strings.Contains(s, "DHCP") })
}

// settings returns the lines of a systemd.syntax(7) file, each after the name of its section.
func settings(text string) (all []string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case line != "" && !strings.HasPrefix(line, "#"):
			all = append(all, section+" "+line)
		}
	}
	return all
}

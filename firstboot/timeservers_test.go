package firstboot_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/overlays"
)

// TestTimeServers: timesyncd asks the servers of its configuration and those of DHCP in turn,
// but its fallback only if it knows no others (systemd/systemd#15644). So the image configures
// some, for a DHCP that names a dead one, and node.yaml's own take their place.
func TestTimeServers(t *testing.T) {
	const image = "base/files/usr/lib/systemd/timesyncd.conf.d/10-imagebuilder.conf"
	text, err := fs.ReadFile(overlays.FS, image)
	if err != nil {
		t.Fatal(err)
	}
	if got := timeServers(string(text)); len(got) == 0 {
		t.Errorf("%s names none", image)
	}
	w := crashWorld(t)
	w.boot(anyProblem)
	const own = "/etc/systemd/timesyncd.conf.d/10-imagebuilder.conf"
	if got := timeServers(string(text) + w.text(own)); !slices.Equal(got, []string{"192.168.1.1"}) {
		t.Errorf("beside node.yaml's: %v", got)
	}
	replace("  ntp: [192.168.1.1]\n", "")(w)
	w.boot(anyProblem)
	if w.files[own] != nil {
		t.Errorf("without any: %q", w.text(own))
	}
}

// timeServers follows timesyncd.conf(5): servers add up, and an empty list forgets them.
func timeServers(text string) (all []string) {
	for _, s := range settings(text) {
		if list, ok := strings.CutPrefix(s, "Time NTP="); ok {
			if all = append(all, strings.Fields(list)...); list == "" {
				all = nil
			}
		}
	}
	return all
}

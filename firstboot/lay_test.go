package firstboot_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestAFileOfFixedLength is written over in place, and made again where a person
// removed or changed it.
func TestAFileOfFixedLength(t *testing.T) {
	const name = "/boot/firmware/REPORT.TXT"
	for there, how := range map[string]string{"": "put ", "12345": "overwrite ", "123": "put ", "123456789": "put "} {
		w := newWorld(t, initYAML)
		if there != "" {
			w.put(name, there)
		}
		var did []string
		w.fault = func(_ int, what string) fault {
			if strings.HasSuffix(what, name) && !strings.HasPrefix(what, "stat ") {
				did = append(did, what)
			}
			return none
		}
		if err := firstboot.Lay(memFiles{w}, name, []byte("abcde")); err != nil {
			t.Errorf("over %q: %v", there, err)
		}
		if len(did) != 1 || did[0] != how+name || w.text(name) != "abcde" {
			t.Errorf("over %q it did %q and left %q", there, did, w.text(name))
		}
	}
}

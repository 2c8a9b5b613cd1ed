package overlays_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestATrialEnds: what restarts it asks for what the initramfs leaves, and for nothing else.
func TestATrialEnds(t *testing.T) {
	for _, unit := range []string{"firstboot-fallback.service", "firstboot-deadline.timer"} {
		b, err := merged(t).ReadAll("usr/lib/systemd/system/" + unit)
		check(t, err)
		if want := "\nConditionPathExists=/" + contract.TrialMark + "\n"; !strings.Contains(string(b), want) || strings.Count(string(b), "\nCondition") != 1 {
			t.Errorf("%s does not ask for %s alone:\n%s", unit, contract.TrialMark, b)
		}
	}
}

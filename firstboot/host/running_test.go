//go:build linux

package host_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// TestVerdict: there is a verdict only on a trial of the other slot that has no try left.
func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		state slot.State
		says  bool
	}{
		"it came back":        {slot.State{Current: "a", Good: "a", Trial: "b"}, true},
		"from the other side": {slot.State{Current: "b", Good: "b", Trial: "a"}, true},
		"it goes on":          {slot.State{Current: "a", Good: "a", Trial: "b", Tries: 1}, false},
		"this is the trial":   {slot.State{Current: "b", Good: "a", Trial: "b"}, false},
		"no trial":            {slot.State{Current: "a", Good: "a"}, false},
	} {
		got := host.Verdict(c.state)
		if (got != "") != c.says || c.says && !strings.Contains(got, "slot "+c.state.Trial+" did not prove itself; this is slot "+c.state.Current+" again") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

package firstboot_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

const votersName = "/var/lib/imagebuilder/firstboot/voters"

// TestVoters: a server that is in its cluster remembers who votes there, has a trial that
// waits learn it, and forgets nothing while nobody answers.
func TestVoters(t *testing.T) {
	const one, two = `{"items":[{}]}`, `{"items":[{},{}]}`
	kept, notKept := fmt.Sprint(contract.StoreKept), fmt.Sprint(contract.StoreNotKept)
	w := newWorld(t, serverYAML)
	for _, c := range []struct{ nodes, known, keeps string }{
		{one, "1\n", kept},
		{two, "2\n", notKept},
		{`{"items":[]}`, "2\n", ""},
		{"no list", "2\n", ""},
		{one, "1\n", kept},
	} {
		w.nodes, w.keeps = c.nodes, ""
		w.watch(2 * time.Minute)
		if got := w.text(votersName); got != c.known || w.keeps != c.keeps {
			t.Errorf("%s: %q and %q, want %q and %q", c.nodes, got, w.keeps, c.known, c.keeps)
		}
	}
	w.mute, w.keeps = true, ""
	w.boot(anyProblem)
	if got := w.text(votersName); got != "1\n" || w.keeps != "" {
		t.Errorf("silent: %q, %q", got, w.keeps)
	}
}

package rollout

import (
	"testing"

	"github.com/going-mobile/imagebuilder/image/roster"
)

// TestFallsBackInItsTime: a trial that hangs ends by its timer, which is waited for three
// times: then the node is what it was, and uncordoned.
func TestFallsBackInItsTime(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.machines["home-box"].broken, w.machines["home-box"].slow = true, true
		_, err := w.run(t.Context(), roster.Choice{Names: []string{"home-box"}}, patient, sameK3s)
		stops(t, err, "home-box", "it fell back: slot b did not prove itself")
		if w.machines["home-box"].cordon != "" {
			t.Error("it is cordoned")
		}
	})
}

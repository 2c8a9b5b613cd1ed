package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/kube"
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

// TestRestartedByItself: a node that came to run the update by itself while the rollout
// waited is neither emptied nor restarted, and no failure.
func TestRestartedByItself(t *testing.T) {
	for what, c := range map[string]struct {
		node   string
		when   func(w *world, restarts func())
		cordon string // what is done about it
	}{
		"while it waits":   {"home-pi", func(w *world, restarts func()) { w.onceHealed(restarts) }, ""},
		"while it empties": {"home-box", func(w *world, restarts func()) { w.on["evict home-box"] = func(*world) { restarts() } }, "cordon home-box, evict home-box, uncordon home-box"},
	} {
		story(t, house, func(t *testing.T, w *world) {
			m := w.machines[c.node]
			c.when(w, func() { m.Slot, m.Good, m.Image, m.Boot = "b", "b", "2", "by itself" })
			done, err := w.run(t.Context(), roster.Choice{Names: []string{c.node}}, patient, sameK3s)
			if err != nil || !done[0].Restarted {
				t.Errorf("%s: %+v, %v", what, done, err)
			}
			if got := w.trace("snapshot", "cordon", "evict", "restart", "uncordon"); got != c.cordon {
				t.Errorf("%s: it did %s", what, got)
			}
		})
	}
}

// onceHealed has a volume lack a replica for an hour, and something happen meanwhile.
func (w *world) onceHealed(meanwhile func()) {
	w.sick = []kube.Volume{{Name: "x", Robustness: "degraded"}}
	time.AfterFunc(30*time.Minute, meanwhile)
	time.AfterFunc(time.Hour, func() { w.sick = nil })
}

// TestCardInThePost: a server that has never joined votes nowhere, and keeps no other from
// its restart; one whose vote the cluster still counts does.
func TestCardInThePost(t *testing.T) {
	for _, name := range []string{"home-pi", "home-box", "vps"} {
		story(t, house, func(t *testing.T, w *world) {
			w.posted = map[string]bool{"cabin-pi": true}
			began, waits := time.Now(), patient
			waits.Wait = 12 * time.Hour
			if _, err := w.run(t.Context(), roster.Choice{Names: []string{name}}, waits, sameK3s); err != nil || time.Since(began) > time.Hour {
				t.Errorf("%s, after %v: %v", name, time.Since(began), err)
			}
		})
	}
	w := newWorld(t, house)
	w.posted = map[string]bool{"cabin-pi": true}
	r, err := w.prepare(roster.Choice{Names: []string{"home-pi"}}, patient, sameK3s)
	if err != nil {
		t.Fatal(err)
	}
	w.posted = nil
	w.offline["cabin-pi"] = true
	if got := strings.Join(r.against(r.look(t.Context()), r.order[0]), "; "); got != "server cabin-pi is not ready: kubelet stopped posting node status" {
		t.Errorf("its vote is counted, and %q", got)
	}
}

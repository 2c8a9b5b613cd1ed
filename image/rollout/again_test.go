package rollout

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/roster"
)

// onTrial leaves a node as an interrupted rollout would, right after the restart.
func (w *world) onTrial(name string) *machine {
	m := w.machines[name]
	m.Slot, m.Image, m.State, m.cordon = "b", "2", "waiting", by
	return m
}

// TestCutOffOnTrial: a repeated rollout waits for the result of the trial. A node that falls
// back stops it, and does not count as running the update.
func TestCutOffOnTrial(t *testing.T) {
	blind := patient
	blind.Blind = true
	for _, c := range []struct {
		choice roster.Choice
		o      Options
	}{{all, patient}, {roster.Choice{Names: []string{"cabin-box"}}, blind}} {
		story(t, house, func(t *testing.T, w *world) {
			m := w.onTrial("cabin-box")
			time.AfterFunc(20*time.Minute, func() { m.Slot, m.Image, m.State, m.Notice = "a", "1", joined, "slot b's k3s did not start" })
			_, err := w.run(t.Context(), c.choice, c.o, sameK3s)
			stops(t, err, "cabin-box", "it fell back: slot b did not prove itself", "slot b's k3s did not start", "Done: none.")
			if m.cordon != "" || w.trace("push", "restart") != "push cabin-box" {
				t.Errorf("%v", w.did)
			}
		})
		story(t, house, func(t *testing.T, w *world) {
			m := w.onTrial("cabin-box")
			time.AfterFunc(20*time.Minute, func() { m.State, m.Good = joined, "b" })
			done, err := w.run(t.Context(), c.choice, c.o, sameK3s)
			if err != nil || done[0].Restarted || done[0].Installed || m.cordon != "" {
				t.Errorf("%+v, %v", done, err)
			}
		})
	}
	story(t, house, func(t *testing.T, w *world) {
		m := w.onTrial("cabin-box")
		m.cordon = ""
		time.AfterFunc(20*time.Minute, func() { m.Image = "3" })
		_, err := w.run(t.Context(), all, patient, sameK3s)
		stops(t, err, "cabin-box", "slot b runs 3, and not 2")
	})
}

// TestStaysCordoned: a node that stays cordoned is reported, with the remedy, even if the
// cluster is not asked.
func TestStaysCordoned(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		m := w.onTrial("cabin-box")
		_, err := w.run(t.Context(), all, patient, sameK3s)
		stops(t, err, "cabin-box", "it runs the update, and is not well; it stays cordoned if it was (kubectl uncordon cabin-box): after 2h0m0s: it says that it is waiting")
		if m.cordon != by {
			t.Error("who is not well is uncordoned")
		}
	})
	blind := patient
	blind.Blind = true
	for down, notes := range map[error]string{nil: "[]", errors.New("it is away"): "[it stays cordoned if it was (kubectl uncordon home-pi)]"} {
		story(t, house, func(t *testing.T, w *world) {
			w.apiDown, w.machines["home-pi"].cordon = down, by
			done, err := w.run(t.Context(), roster.Choice{Names: []string{"home-pi"}}, blind, sameK3s)
			if err != nil || fmt.Sprint(done[0].Notes) != notes || (w.machines["home-pi"].cordon == "") != (down == nil) {
				t.Errorf("%v: %+v, %v", down, done, err)
			}
		})
	}
}

// TestTwoAtOnce: if two rollouts drain a voter each, neither restarts it, and both say what
// they wait for.
func TestTwoAtOnce(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.on["evict home-pi"] = func(w *world) { w.machines["cabin-pi"].cordon = by }
		_, err := w.run(t.Context(), roster.Choice{Names: []string{"home-pi"}}, patient, sameK3s)
		stops(t, err, "home-pi", "it is drained, and may not restart now: server cabin-pi: a rollout has emptied it")
		if w.machines["home-pi"].cordon != "" || w.trace("restart") != "" {
			t.Errorf("%v", w.did)
		}
	})
	story(t, house, func(t *testing.T, w *world) {
		w.machines["cabin-pi"].cordon = by
		time.AfterFunc(time.Hour, func() { w.machines["cabin-pi"].cordon = "" })
		r, err := w.prepare(roster.Choice{Names: []string{"home-pi"}}, patient, sameK3s)
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		r.Say = func(_, words string) { said = append(said, words) }
		if _, err := r.Run(t.Context(), map[string]string{"rpi4": "for rpi4"}); err != nil {
			t.Error(err)
		}
		if want := "may not restart yet: server cabin-pi: a rollout has emptied it, or left it cordoned (kubectl uncordon cabin-pi)"; strings.Count(strings.Join(said, "\n"), want) != 1 {
			t.Errorf("%q", said)
		}
	})
}

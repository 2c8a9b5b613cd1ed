package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// story runs tell in a world with fake time.
func story(t *testing.T, fleet string, tell func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(t, newWorld(t, fleet)) })
}

// stops checks that the rollout stopped at a node, with these words.
func stops(t *testing.T, err error, node string, words ...string) {
	t.Helper()
	var s *Stopped
	if !errors.As(err, &s) || s.Node != node {
		t.Fatalf("it did not stop at %s: %v", node, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v\nlacks %q", err, word)
		}
	}
}

// TestAllGetIt: one after the other, each drained before its restart and healed after it;
// the first site soaks.
func TestAllGetIt(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		done, err := w.run(t.Context(), all, patient, sameK3s)
		if err != nil {
			t.Fatal(err)
		}
		want := "push cabin-box, cordon cabin-box, evict cabin-box, restart cabin-box, uncordon cabin-box, " +
			"push cabin-pi, snapshot cabin-pi, cordon cabin-pi, evict cabin-pi, restart cabin-pi, uncordon cabin-pi, "
		if got := strings.Join(w.did, ", "); !strings.HasPrefix(got, want) || strings.Contains(got, "snapshot vps") {
			t.Errorf("%s\nwant %s", got, want)
		}
		if got := w.trace("restart"); got != "restart cabin-box, restart cabin-pi, restart home-box, restart home-pi, restart vps" {
			t.Error(got)
		}
		if soaked := w.when["push home-box"].Sub(w.when["restart cabin-pi"]); soaked < 30*time.Minute || soaked > 35*time.Minute {
			t.Errorf("the first site soaked for %v", soaked)
		}
		if len(done) != 5 || !done[0].Restarted || done[0].Node != "cabin-box" || done[0].Version != "2" {
			t.Errorf("%+v", done)
		}
		w.did = nil
		if done, err = w.run(t.Context(), all, patient, sameK3s); err != nil || done[4].Restarted || w.trace("restart", "cordon", "evict") != "" {
			t.Errorf("once more: %+v, %v, %v", done, err, w.did)
		}
	})
}

// TestNothingRestartsUnasked: without restarts the cluster may be down, and neither a chosen
// server nor an image without k3s makes a difference.
func TestNothingRestartsUnasked(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.apiDown = errors.New("it is away")
		if done, err := w.run(t.Context(), all, Options{}, ""); err != nil || len(done) != 5 || done[0].Restarted {
			t.Errorf("%+v, %v", done, err)
		}
		if done, err := w.run(t.Context(), roster.Choice{Names: []string{"home-pi", "cabin-pi"}}, Options{}, nextK3s); err != nil || len(done) != 2 {
			t.Errorf("%+v, %v", done, err)
		}
		if w.trace("push") != strings.Join(w.did, ", ") {
			t.Errorf("%v", w.did)
		}
	})
}

// TestBlind: one node restarts although the cluster is down and the node ill, and must pass
// its trial. Several nodes are refused.
func TestBlind(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		o := patient
		o.Blind = true
		w.apiDown = errors.New("it is away")
		if _, err := w.prepare(all, o, sameK3s); err == nil {
			t.Error("all at once")
		}
		w.machines["home-pi"].State = "waiting"
		w.on["restart home-pi"] = func(w *world) { w.machines["home-pi"].State = joined }
		done, err := w.run(t.Context(), roster.Choice{Names: []string{"home-pi"}}, o, sameK3s)
		if err != nil || !done[0].Restarted || strings.Join(w.did, ", ") != "push home-pi, restart home-pi" {
			t.Errorf("%v, %v", w.did, err)
		}
	})
}

// TestPreconditions: a node does not restart while the cluster cannot do without it; a
// problem that goes away in time is waited for.
func TestPreconditions(t *testing.T) {
	for name, c := range map[string]struct {
		node   string
		break_ func(*world)
		words  string // "" is no obstacle
	}{
		"a voter is away":                  {"home-pi", func(w *world) { w.offline["cabin-pi"] = true }, "server cabin-pi is not ready"},
		"a voter is ill":                   {"home-pi", func(w *world) { w.machines["vps"].State, w.machines["vps"].Problem = "waiting", "no quorum" }, "witness vps is not well: it says that it is waiting; no quorum"},
		"a voter has just gone, unnoticed": {"home-pi", func(w *world) { w.gone = "cabin-pi" }, "server cabin-pi is not well: it is offline"},
		"a voter is on trial":              {"home-pi", func(w *world) { w.machines["cabin-pi"].Good = "b" }, "server cabin-pi is not well: slot a is still on trial"},
		"a voter is away, an agent goes":   {"home-box", func(w *world) { w.offline["cabin-pi"] = true }, ""},
		"the witness goes, voter is away":  {"vps", func(w *world) { w.offline["cabin-pi"] = true }, "server cabin-pi is not ready"},
		"another rollout has a voter":      {"home-pi", func(w *world) { w.machines["cabin-pi"].cordon = by }, "server cabin-pi: a rollout has emptied it, or left it cordoned (kubectl uncordon cabin-pi)"},
		"a person has cordoned a voter":    {"home-pi", func(w *world) { w.machines["cabin-pi"].cordon = "a person" }, ""},
		"its own mark is no other's":       {"home-pi", func(w *world) { w.machines["home-pi"].cordon = by }, ""},
		"a volume lacks a replica":         {"home-box", func(w *world) { w.sick = []kube.Volume{{Name: "default/db", Robustness: "degraded"}} }, "volume default/db is degraded"},
		"it is not well itself":            {"home-box", func(w *world) { w.machines["home-box"].State = "needs-person" }, "home-box is not well: it says that it is needs-person"},
		"it is on trial itself":            {"home-box", func(w *world) { w.machines["home-box"].Good = "b" }, "home-box is not well: slot a is still on trial"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, house, func(t *testing.T, w *world) {
				c.break_(w)
				_, err := w.run(t.Context(), roster.Choice{Names: []string{c.node}}, patient, sameK3s)
				if c.words == "" && err == nil {
					return
				}
				stops(t, err, c.node, "it has the update, and may not restart: after 2h0m0s: ", c.words)
				if w.trace("cordon", "snapshot", "restart") != "" {
					t.Errorf("%v", w.did)
				}
			})
		})
	}
}

// TestWaitsForHealing: before a restart, and after it before the next one.
func TestWaitsForHealing(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.sick = []kube.Volume{{Name: "x", Robustness: "degraded"}}
		healed := time.Now().Add(time.Hour)
		time.AfterFunc(time.Hour, func() { w.sick = nil })
		var again time.Time
		w.on["restart cabin-box"] = func(w *world) {
			w.sick = []kube.Volume{{Name: "x", Robustness: "degraded"}}
			again = time.Now().Add(90 * time.Minute)
			time.AfterFunc(90*time.Minute, func() { w.sick = nil })
		}
		if _, err := w.run(t.Context(), roster.Choice{Site: "cabin"}, patient, sameK3s); err != nil {
			t.Fatal(err)
		}
		if w.when["cordon cabin-box"].Before(healed) || w.when["push cabin-pi"].Before(again) {
			t.Errorf("%v", w.when)
		}
	})
}

// TestNotHealed: a volume that stays unhealthy after a restart stops the rollout, with the
// node uncordoned.
func TestNotHealed(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.on["restart cabin-box"] = func(w *world) { w.sick = []kube.Volume{{Name: "x", Robustness: "faulted"}} }
		_, err := w.run(t.Context(), all, patient, sameK3s)
		stops(t, err, "cabin-box", "the cluster has not healed: after 2h0m0s: volume x is faulted", "Done: none. Not begun: cabin-pi, home-box, home-pi, vps", "say the same again")
		if w.machines["cabin-box"].cordon != "" {
			t.Error("it is cordoned")
		}
	})
}

// TestVoterLostWhileDraining: the voters are checked once more before the restart.
func TestVoterLostWhileDraining(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.on["evict home-pi"] = func(w *world) { w.offline["cabin-pi"] = true }
		_, err := w.run(t.Context(), roster.Choice{Names: []string{"home-pi"}}, patient, sameK3s)
		stops(t, err, "home-pi", "it is drained, and may not restart now: server cabin-pi is not ready")
		if w.machines["home-pi"].cordon != "" || w.trace("restart") != "" {
			t.Errorf("%v", w.did)
		}
	})
}

// TestReplicasMissingAfterDraining: this is expected, and no obstacle.
func TestReplicasMissingAfterDraining(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.on["evict home-box"] = func(w *world) { w.sick = []kube.Volume{{Name: "x", Robustness: "degraded"}} }
		w.on["uncordon home-box"] = func(w *world) { w.sick = nil }
		if _, err := w.run(t.Context(), roster.Choice{Names: []string{"home-box"}}, patient, sameK3s); err != nil {
			t.Error(err)
		}
	})
}

// TestNoSnapshotNoRestart.
func TestNoSnapshotNoRestart(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.on["fail snapshot cabin-pi"] = func(*world) {}
		_, err := w.run(t.Context(), roster.Choice{Site: "cabin"}, patient, sameK3s)
		stops(t, err, "cabin-pi", "no snapshot of etcd, so it does not restart", "Done: cabin-box.")
		if w.trace("cordon", "restart") != "cordon cabin-box, restart cabin-box" {
			t.Errorf("%v", w.did)
		}
	})
}

// TestDrainLimit: a disruption budget is respected until the limit; then the node is
// uncordoned, and the error names the pods.
func TestDrainLimit(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.machines["home-box"].refuses = "it would violate the pod's disruption budget"
		began := time.Now()
		_, err := w.run(t.Context(), roster.Choice{Names: []string{"home-box"}}, patient, sameK3s)
		stops(t, err, "home-box", "it is not drained: after 10m0s: default/app-on-home-box may not go: it would violate the pod's disruption budget")
		if w.machines["home-box"].cordon != "" || w.trace("restart") != "" || time.Since(began) < 10*time.Minute || len(w.did) < 100 {
			t.Errorf("after %v: %v", time.Since(began), w.did)
		}
	})
}

// TestBudgetGivesWay: the eviction is retried, and succeeds.
func TestBudgetGivesWay(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		m := w.machines["home-box"]
		m.refuses = "no"
		time.AfterFunc(5*time.Minute, func() { m.refuses = "" })
		if _, err := w.run(t.Context(), roster.Choice{Names: []string{"home-box"}}, patient, sameK3s); err != nil {
			t.Error(err)
		}
	})
}

// TestPodsThatStay: a pod that is ending is waited for, a pod without a controller stays,
// and a short failure of the API is tolerated.
func TestPodsThatStay(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		m := w.machines["home-box"]
		m.pods = append(m.pods, kube.Pod{Namespace: "default", Name: "by-hand", Alone: true}, kube.Pod{Namespace: "default", Name: "old", Leaving: true})
		w.on["evict home-box"] = func(w *world) {
			w.apiDown = errors.New("a hiccup")
			time.AfterFunc(time.Minute, func() { w.apiDown = nil })
			time.AfterFunc(2*time.Minute, func() { m.pods = m.pods[:1] })
		}
		done, err := w.run(t.Context(), roster.Choice{Names: []string{"home-box"}}, patient, sameK3s)
		if err != nil || fmt.Sprint(done[0].Notes) != "[restarted with it, as nobody would make them again: default/by-hand]" {
			t.Errorf("%+v, %v", done, err)
		}
		if w.when["restart home-box"].Sub(w.when["evict home-box"]) < 2*time.Minute || w.trace("evict") != "evict home-box" {
			t.Errorf("%v", w.did)
		}
	})
}

// TestSomebodyElsesCordon stays.
func TestSomebodyElsesCordon(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.machines["home-box"].cordon = "a person"
		done, err := w.run(t.Context(), roster.Choice{Names: []string{"home-box"}}, patient, sameK3s)
		if err != nil || w.machines["home-box"].cordon != "a person" || fmt.Sprint(done[0].Notes) != "[somebody else has cordoned it: it stays so]" {
			t.Errorf("%+v, %v", done, err)
		}
	})
}

// TestFallsBack: a node that falls back is uncordoned, the error has its words, and the
// other nodes keep what they run.
func TestFallsBack(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.machines["cabin-pi"].broken = true
		_, err := w.run(t.Context(), all, patient, sameK3s)
		var back *FellBack
		if !errors.As(err, &back) {
			t.Fatal(err)
		}
		stops(t, err, "cabin-pi", "it fell back: slot b did not prove itself", "slot b's k3s did not start", "Done: cabin-box. Not begun: home-box, home-pi, vps.")
		if w.machines["cabin-pi"].cordon != "" || w.trace("push") != "push cabin-box, push cabin-pi" {
			t.Errorf("%v", w.did)
		}
	})
}

// TestOldStartIsNoFallback: until it goes down, a node reports its previous boot in the old
// slot. That is not a fallback.
func TestOldStartIsNoFallback(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.lingers = true
		if _, err := w.run(t.Context(), roster.Choice{Names: []string{"home-box"}}, patient, sameK3s); err != nil {
			t.Error(err)
		}
	})
}

// TestNeverReturns: the node is waited for, and stays cordoned.
func TestNeverReturns(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		w.machines["cabin-box"].lost = true
		_, err := w.run(t.Context(), all, patient, sameK3s)
		stops(t, err, "cabin-box", "it stays cordoned: after 2h30m0s: it has not come back: it cannot be asked: no answer in time")
		if w.machines["cabin-box"].cordon == "" || w.trace("push") != "push cabin-box" {
			t.Errorf("%v", w.did)
		}
		// After a repair, a repeated rollout uncordons the node.
		w.machines["cabin-box"].lost = false
		if _, err := w.run(t.Context(), roster.Choice{Site: "cabin"}, patient, sameK3s); err != nil || w.machines["cabin-box"].cordon != "" {
			t.Error(err)
		}
	})
}

// TestNotBlessed: a node that runs the update but does not keep it is not done.
func TestNotBlessed(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		m := w.machines["cabin-box"]
		w.on["restart cabin-box"] = func(*world) { m.staged = "3" }
		_, err := w.run(t.Context(), all, patient, sameK3s)
		stops(t, err, "cabin-box", "slot b runs 3, and not 2")
	})
	story(t, house, func(t *testing.T, w *world) {
		w.machines["cabin-box"].unsure = true
		_, err := w.run(t.Context(), all, patient, sameK3s)
		stops(t, err, "cabin-box", "it stays cordoned: after 2h30m0s: it is on trial: slot b is still on trial")
	})
	story(t, house, func(t *testing.T, w *world) {
		w.on["restart cabin-box"] = func(w *world) { w.machines["cabin-box"].staged = "" }
		_, err := w.run(t.Context(), all, patient, sameK3s)
		stops(t, err, "cabin-box", "it does not say which slot is good")
	})
}

// TestFirstSiteFailsWhileItSoaks: a node that becomes ill, or falls back, is found before
// the next site begins.
func TestFirstSiteFailsWhileItSoaks(t *testing.T) {
	for words, fails := range map[string]func(m *machine){
		"cabin-box, which has the update, runs slot a again": func(m *machine) { m.Slot, m.Good = "a", "a" },
		"cabin-box is not well: it says that it is waiting":  func(m *machine) { m.State = "waiting" },
		"cabin-box has run for":                              func(m *machine) { m.Up = time.Minute },
	} {
		story(t, house, func(t *testing.T, w *world) {
			w.on["uncordon cabin-pi"] = func(w *world) { time.AfterFunc(10*time.Minute, func() { fails(w.machines["cabin-box"]) }) }
			_, err := w.run(t.Context(), all, patient, sameK3s)
			stops(t, err, "home-box", "the nodes that have the update do not stay well", words, "Done: cabin-box, cabin-pi.")
			if w.trace("push") != "push cabin-box, push cabin-pi" {
				t.Errorf("%v", w.did)
			}
		})
	}
}

// TestInterrupted: if interrupted during the drain, the node is uncordoned; after the
// restart nothing more is done.
func TestInterrupted(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		w.machines["cabin-box"].refuses = "no"
		time.AfterFunc(time.Minute, cancel)
		_, err := w.run(ctx, all, patient, sameK3s)
		stops(t, err, "cabin-box", "it is not drained")
		if !errors.Is(err, context.Canceled) || w.machines["cabin-box"].cordon != "" || w.trace("restart") != "" {
			t.Errorf("%v, %v", err, w.did)
		}
	})
	story(t, house, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		w.on["restart cabin-box"] = func(*world) { cancel() }
		_, err := w.run(ctx, all, patient, sameK3s)
		stops(t, err, "cabin-box", "it stays cordoned")
		if !errors.Is(err, context.Canceled) || w.machines["cabin-box"].cordon == "" {
			t.Errorf("%v, %v", err, w.did)
		}
	})
}

// TestOfflineIsWaitedFor: others come first, and the node has its turn when it is back. If
// it does not come in time, the error says that it is missing.
func TestOfflineIsWaitedFor(t *testing.T) {
	o := patient
	o.Wait = 24 * time.Hour
	story(t, house, func(t *testing.T, w *world) {
		w.offline["cabin-box"] = true
		time.AfterFunc(10*time.Hour, func() { delete(w.offline, "cabin-box") })
		if _, err := w.run(t.Context(), all, o, sameK3s); err != nil {
			t.Fatal(err)
		}
		if got := w.trace("restart"); got != "restart cabin-pi, restart home-box, restart home-pi, restart cabin-box, restart vps" {
			t.Error(got)
		}
	})
	story(t, house, func(t *testing.T, w *world) { // a voter: until it is back no other voter may restart
		w.offline["cabin-pi"] = true
		time.AfterFunc(10*time.Hour, func() { delete(w.offline, "cabin-pi") })
		if _, err := w.run(t.Context(), all, o, sameK3s); err != nil {
			t.Fatal(err)
		}
		if got := w.trace("restart"); !strings.HasPrefix(got, "restart cabin-box, restart home-box, ") || w.when["restart home-pi"].Sub(w.when["restart home-box"]) < 8*time.Hour {
			t.Error(got)
		}
	})
	story(t, house, func(t *testing.T, w *world) {
		w.offline["cabin-box"] = true
		_, err := w.run(t.Context(), roster.Choice{Site: "cabin"}, o, sameK3s)
		stops(t, err, "cabin-box", "Headscale does not see it", "Done: cabin-pi. Not begun: none")
	})
}

// TestCanaryIsFirst: even if the canary is offline or has to wait for a voter, no other node
// has its turn before it.
func TestCanaryIsFirst(t *testing.T) {
	o := patient
	o.Wait = 24 * time.Hour
	for canary, away := range map[string]string{"cabin-box": "cabin-box", "home-pi": "cabin-pi"} {
		o.Canary = canary
		story(t, house, func(t *testing.T, w *world) {
			w.offline[away] = true
			time.AfterFunc(10*time.Hour, func() { delete(w.offline, away) })
			if _, err := w.run(t.Context(), all, o, sameK3s); err != nil {
				t.Fatal(err)
			}
			if got := w.trace("push"); !strings.HasPrefix(got, "push "+canary+", ") {
				t.Error(got)
			}
		})
		story(t, house, func(t *testing.T, w *world) {
			w.offline[canary] = true
			_, err := w.run(t.Context(), all, o, sameK3s)
			stops(t, err, canary, "Headscale does not see it", "Done: none.")
		})
	}
}

// TestOfflineServerHoldsAgentsBack: with a new minor version no agent comes before a server.
func TestOfflineServerHoldsAgentsBack(t *testing.T) {
	story(t, house, func(t *testing.T, w *world) {
		o := patient
		o.Wait = time.Hour
		w.offline["cabin-pi"] = true
		_, err := w.run(t.Context(), all, o, nextK3s)
		stops(t, err, "home-pi", "server cabin-pi is not ready")
		if w.trace("restart") != "" {
			t.Errorf("%v", w.did)
		}
	})
	story(t, threeServers, func(t *testing.T, w *world) {
		o := patient
		o.Wait = time.Hour
		w.offline["six"] = true
		w.offline["fox"] = true
		r, err := w.prepare(all, o, nextK3s)
		if err != nil {
			t.Fatal(err)
		}
		if at, err := r.next(t.Context(), r.order, time.Now()); err != nil || r.order[at].Name != "one" {
			t.Errorf("%d, %v", at, err)
		}
		w.offline["one"], w.offline["two"], w.offline["ten"] = true, true, true
		if at, err := r.next(t.Context(), r.order, time.Now()); err == nil {
			t.Errorf("%s is before a server", r.order[at].Name)
		}
	})
}

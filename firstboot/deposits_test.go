package firstboot_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// goesOn is a node that stays on for a while, whatever its status is.
func goesOn(w *world, d time.Duration, see func(firstboot.Status)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.endless = true
	end := w.now.Add(d)
	_ = firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) {
		if ctx.Err() == nil {
			see(s)
		}
		if w.now.After(end) {
			cancel()
		}
	})
}

func nothing(firstboot.Status) {}

func learned(w *world, at netip.Addr, place netip.Addr) bool {
	return slices.ContainsFunc(w.holders[at].Shares, func(k vault.Kept) bool { return slices.Contains(k.Places, vault.PlaceOf(place)) })
}

// TestToldWhateverElse is wrong: a node whose cluster does not answer still tells its
// holders, as its address may change, too.
func TestToldWhateverElse(t *testing.T) {
	for name, spoil := range map[string]func(*world){
		"no answer":     func(w *world) { w.mute = true },
		"not ready":     func(w *world) { w.unready = "no network" },
		"late":          func(w *world) { w.late = 4 * time.Second },
		"another start": func(w *world) { w.reboot(); w.ready = false },
	} {
		w := encryptWorld(t)
		wantJoined(t, w)
		spoil(w)
		told := false
		w.fault = func(_ int, name string) fault { told = told || name == "deposit"; return none }
		goesOn(w, time.Minute, func(s firstboot.Status) {
			if s.Problem != nil && told {
				w.place = away
			}
		})
		if w.place != away || learned(w, vpsIP, away) {
			t.Errorf("%s: it had no problem, or tells every minute", name)
		}
		goesOn(w, 61*time.Minute, nothing)
		if !learned(w, vpsIP, away) || !learned(w, cabinIP, away) {
			t.Errorf("%s: nobody is told where it is", name)
		}
	}
}

// TestReachesOthersInTrouble: also a server with a problem of its own answers other
// nodes, or their trials would fail.
func TestReachesOthersInTrouble(t *testing.T) {
	w := watching(t)
	w.all = `{"items":[` + kubeNode("cabin-pc", "cabin", "100.64.0.8", "", `"imagebuilder/boot":"boot-9"`) + `]}`
	w.late = 4 * time.Second
	goesOn(w, time.Minute, nothing)
	if w.patched["/api/v1/nodes/cabin-pc"] == "" {
		t.Error("it answers nobody")
	}
}

// TestNobodyHolds up the watch: slow peers take turns, a few at each look.
func TestNobodyHoldsUpTheWatch(t *testing.T) {
	w := watching(t)
	var all []string
	for n := range 9 {
		all = append(all, kubeNode(fmt.Sprint("cabin-", n), "cabin", fmt.Sprint("100.64.0.", n), "", `"imagebuilder/boot":"boot-9"`))
	}
	w.all = `{"items":[` + strings.Join(all, ",") + `]}`
	look := 0
	w.fault = func(_ int, name string) fault {
		switch name {
		case "sleep":
			look = 0
		case "reach":
			w.now = w.now.Add(3 * time.Second)
			look++
		}
		if look > 2 {
			t.Fatal("it waits for all of them at once")
		}
		return none
	}
	goesOn(w, 5*time.Minute, nothing)
	if w.patched["/api/v1/nodes/cabin-8"] == "" {
		t.Error("those in front are asked again and again")
	}
}

// TestHoldersThatTakeLong are told one after the other, and in between the node goes on
// looking at itself, which comes first.
func TestHoldersThatTakeLong(t *testing.T) {
	w := sealedWorld(t)
	wantJoined(t, w)
	w.place = away
	look, joined := 0, false
	w.fault = func(_ int, name string) fault {
		switch name {
		case "sleep":
			look = 0
		case "deposit": // a share, and a spare
			if !joined {
				t.Fatal("they are told before the outcome is")
			}
			w.now = w.now.Add(10 * time.Second)
			look++
		}
		if look > 2 {
			t.Fatal("one look tells all of them")
		}
		return none
	}
	var last time.Time
	goesOn(w, 3*time.Minute, func(s firstboot.Status) {
		joined = joined || s.State == firstboot.Joined
		if s.Checked != nil && !last.IsZero() && s.Checked.Sub(last) > 45*time.Second {
			t.Errorf("nobody looked at the cluster for %s", s.Checked.Sub(last))
		}
		if s.Checked != nil {
			last = *s.Checked
		}
	})
	if !learned(w, vpsIP, away) || !learned(w, cabinIP, away) {
		t.Error("one of them was not told")
	}
}

// noticedAfter is the code of what a joined node says, when it has gone on for a while.
func noticedAfter(w *world, d time.Duration) (code, summary string) {
	goesOn(w, d, func(s firstboot.Status) {
		if s.State != firstboot.Joined {
			return
		}
		if code, summary = "", ""; s.Notice != nil {
			code, summary = s.Notice.Code, s.Notice.Summary
		}
	})
	return code, summary
}

// TestSaysThatItMayStayLocked: while the node is open, as afterwards nobody could change
// that.
func TestSaysThatItMayStayLocked(t *testing.T) {
	const share = "/var/lib/imagebuilder/vault/share.yaml"
	for name, c := range map[string]struct {
		spoil       func(*world)
		after       time.Duration
		code, words string
	}{
		"nobody is there":          {func(w *world) { w.holders[vpsIP], w.holders[cabinIP] = nil, nil }, 130 * time.Minute, "share-untold", "vps: no route to host"},
		"nobody is there just now": {func(w *world) { w.holders[vpsIP], w.holders[cabinIP] = nil, nil }, 110 * time.Minute, "", ""},
		"one is there":             {func(w *world) { w.holders[vpsIP] = nil }, 130 * time.Minute, "", ""},
		"revoked":                  {func(w *world) { w.holders[cabinIP].Revoke([]string{"7"}) }, time.Minute, "share-refused", "cabin-pi: this node is revoked"},
		"of another disk":          {func(w *world) { w.holders[vpsIP].Shares[0].Proof = "another" }, time.Minute, "share-refused", "vps: it does not know"},
		"its own copy is damaged":  {func(w *world) { w.put(share, "rotten") }, time.Minute, "share-unread", share},
		"the share is not sealed":  {func(w *world) { w.chip = "a 1"; w.fault = failing("put " + nextName) }, time.Minute, "share-sealing", "injected"},
		"all is well":              {func(*world) {}, 130 * time.Minute, "", ""},
	} {
		w := encryptWorld(t)
		wantJoined(t, w)
		c.spoil(w)
		if code, summary := noticedAfter(w, c.after); code != c.code || !strings.Contains(summary, c.words) {
			t.Errorf("%s: %q: %s", name, code, summary)
		}
	}
}

// failing breaks a call whenever it is made.
func failing(call string) func(int, string) fault {
	return func(_ int, name string) fault {
		if name == call {
			return before
		}
		return none
	}
}

// TestHoldings is what the doctor reads.
func TestHoldings(t *testing.T) {
	w := encryptWorld(t)
	if all, err := firstboot.ReadHoldings(memFiles{w}); err != nil || all != nil {
		t.Errorf("before its first start: %+v, %v", all, err)
	}
	w.holders[cabinIP] = nil
	goesOn(w, 3*time.Minute, nothing)
	all, err := firstboot.ReadHoldings(memFiles{w})
	if err != nil || len(all) != 2 || all[0].Took.IsZero() || all[0].Fault != "" || !all[1].Took.IsZero() || all[1].Fault != "no route to host" {
		t.Errorf("%+v, %v", all, err)
	}
	w.put("/run/firstboot/holders.json", "[")
	if _, err := firstboot.ReadHoldings(memFiles{w}); err == nil || errors.Is(err, context.Canceled) {
		t.Error("a damaged file is read")
	}
}

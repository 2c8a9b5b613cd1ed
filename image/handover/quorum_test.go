package handover

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

const threeVoters = `sites: {home: {}, cabin: {}, cloud: {}}
nodes:
  vps: {board: generic-amd64, site: cloud, role: [control, witness]}
  box: {board: optiplex-7050, site: cabin, role: agent}
  hut: {board: rpi4, site: cabin, role: server}
  pi: {board: rpi4, site: home, role: server}
`

// TestVoters: a voter's k3s does not restart while another voter is away or ill, unless
// risky is set. Other nodes, and voters whose k3s does not restart, are not affected.
func TestVoters(t *testing.T) {
	away := machine{fault: &inquiry.SilentError{Why: "no answer in time"}}
	for name, c := range map[string]struct {
		who   string
		steps []string
		vps   machine
		risky bool
		want  string // "" is no error
	}{
		"all are well":       {"pi", []string{"k3s"}, machine{}, false, ""},
		"one is away":        {"pi", []string{"k3s", "verify"}, away, false, "nothing was done: pi: k3s: it starts anew, and etcd may be too few without it, as vps votes there, too: it cannot be asked: no answer in time; if that is what you want, say --risky"},
		"one is at work":     {"pi", []string{"k3s"}, machine{status: `{"state":"working"}`}, false, "as vps votes there, too: it says that it is working"},
		"one is on trial":    {"pi", []string{"k3s"}, machine{status: `{"state":"joined","image":"2","slot":"b","good":"a"}`}, false, "slot b is still on trial"},
		"one says nothing":   {"pi", []string{"k3s"}, machine{status: "{}"}, false, "the answer is no status"},
		"one is in the post": {"pi", []string{"k3s"}, machine{fault: away.fault, isNew: true}, false, ""},
		"it goes on":         {"pi", []string{"identity"}, away, false, ""},
		"it votes nowhere":   {"box", []string{"k3s"}, away, false, ""},
		"by a word":          {"pi", []string{"k3s"}, away, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldOf(t, threeVoters)
				w.of["vps"] = &c.vps
				w.of[c.who].fields, w.of[c.who].steps = []string{"k3s.labels"}, c.steps
				o, err := w.prepare(roster.Choice{Names: []string{c.who}})
				if err != nil {
					t.Fatal(err)
				}
				if risks := o.Nodes[0].Risks; (len(risks) > 0) != (c.want != "" || c.risky) {
					t.Errorf("a plan tells of %q", risks)
				}
				err = o.Run(t.Context(), c.risky)
				if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) || (len(w.given) > 0) != (c.want == "") {
					t.Errorf("%v, want %q; given to %v", err, c.want, w.given)
				}
			})
		})
	}
}

// TestVoterLost: a voter that was well at first is asked again before another one's turn,
// whatever risks were accepted. If it soon recovers, it is waited for.
func TestVoterLost(t *testing.T) {
	for back, want := range map[time.Duration]string{
		time.Hour:   "pi: k3s: it starts anew, and etcd may be too few without it, as vps votes there, too: it says that it is working; mend that, and do this again (with --risky it goes on all the same)",
		time.Minute: "",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorldOf(t, threeVoters)
			w.of["pi"].fields, w.of["pi"].steps = []string{"k3s.labels"}, []string{"k3s"}
			o, err := w.prepare(roster.Choice{Names: []string{"pi"}})
			if err != nil {
				t.Fatal(err)
			}
			w.of["vps"].status = `{"state":"working"}`
			timer := time.AfterFunc(back, func() { w.of["vps"].status = "" })
			defer timer.Stop()
			err = o.Run(t.Context(), true)
			if (err != nil) != (want != "") || err != nil && err.Error() != want || (len(w.given) > 0) != (want == "") {
				t.Errorf("%v, want %q; given to %v", err, want, w.given)
			}
			if len(w.said) == 0 || !strings.HasPrefix(w.said[0], "pi waits: k3s: it starts anew") {
				t.Errorf("%q", w.said)
			}
		})
	}
}

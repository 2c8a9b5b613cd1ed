package handover

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

const nodes = `sites: {home: {}, cabin: {}, cloud: {}}
nodes:
  vps: {board: generic-amd64, site: cloud, role: control}
  box: {board: optiplex-7050, site: cabin, role: agent}
  pi: {board: rpi4, site: home, role: server}
`

// machine is a node that answers "firstboot offer".
type machine struct {
	fields, steps []string
	fault         error         // of every question
	refuses       error         // of what is handed over
	loses         bool          // the answer to that, or the line before it
	takes         time.Duration // until it has taken it
	works         time.Duration // through its steps, from then on
	falls         bool          // over, every minute
	isNew         bool          // nobody has switched it on yet
	status        string        // what it says of itself, where that is not that it is well

	has string
	at  time.Time
}

// world has nodes, and what they were told.
type world struct {
	t     *testing.T
	fleet *fleet.Fleet
	of    map[string]*machine
	given []string
	said  []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, nodes)
}

func newWorldOf(t *testing.T, nodes string) *world {
	t.Helper()
	dir := t.TempDir()
	if err := fleet.Init(dir, fleet.InitOptions{Name: "shed", Headscale: "https://hs.example.org", Own: true}, time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "fleet.yaml")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(data), "\nsites:")
	f, err := fleet.Load(name, []byte(head+"\n"+nodes), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, fleet: f, of: map[string]*machine{}}
	for _, name := range f.Nodes.Names {
		w.of[name] = &machine{}
	}
	return w
}

// line is a node's: what is not signed for it, it says no to.
func (w *world) line(_ context.Context, name, command string, input io.Reader) ([]byte, error) {
	m := w.of[name]
	if command == contract.AskStatus {
		return []byte(cmp.Or(m.status, `{"state":"joined"}`)), m.fault
	}
	data, err := io.ReadAll(input)
	if err != nil {
		w.t.Fatal(err)
	}
	sig, err := node.ReadSignature(data)
	if err != nil || sig == nil || sig.Node != name || sig.By(w.fleet.Cluster.OwnerKey) != nil {
		w.t.Errorf("%s was given what its owner did not sign for it: %v", name, err)
	}
	if m.fault != nil {
		return nil, m.fault
	}
	if command == "firstboot offer" {
		if m.refuses != nil {
			return nil, m.refuses
		}
		m.has, m.at = string(data), time.Now()
		w.given = append(w.given, name)
		if m.loses {
			return nil, errors.New("connection reset")
		}
		return nil, nil
	}
	if command != contract.AskPreview {
		w.t.Fatalf("%s was told %q", name, command)
	}
	return json.Marshal(w.preview(m, string(data)))
}

func (w *world) preview(m *machine, data string) map[string]any {
	switch since := time.Since(m.at); {
	case unsigned(w.t, m.has) != unsigned(w.t, data) || since < m.takes:
		return map[string]any{"inForce": false, "fields": m.fields, "steps": m.steps}
	case since < m.takes+m.works, m.falls && since%time.Minute > 40*time.Second:
		return map[string]any{"inForce": true, "steps": []string{"k3s", "verify"}}
	}
	return map[string]any{"inForce": true}
}

// unsigned is what a node knows a file by.
func unsigned(t *testing.T, data string) string {
	t.Helper()
	sig, err := node.ReadSignature([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if sig == nil {
		return ""
	}
	return sig.Digest
}

// rows are those of nodes that are there, but for some.
func (w *world) rows(away ...string) (rows []roster.Row) {
	for i, name := range w.fleet.Nodes.Names {
		r := roster.Row{Node: name, State: roster.Online, Address: netip.AddrFrom4([4]byte{100, 64, 0, byte(1 + i)})}
		if slices.Contains(away, name) {
			r.State = roster.Offline
		}
		if m := w.of[name]; m != nil && m.isNew {
			r = roster.Row{Node: name, State: roster.Waiting, New: true}
		}
		rows = append(rows, r)
	}
	return rows
}

func (w *world) prepare(c roster.Choice, away ...string) (*Order, error) {
	o, err := Prepare(w.t.Context(), w.fleet, w.rows(away...), c, w.line, time.Now())
	if err == nil {
		o.Say = func(node, words string) { w.said = append(w.said, node+" "+words) }
	}
	return o, err
}

// story lets something happen in a world whose time flies.
func story(t *testing.T, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(newWorld(t)) })
}

var all = roster.Choice{All: true}

// TestHandedOver: servers first, the machine with Headscale last, each after the one
// before works by it; who has no use for it gets nothing.
func TestHandedOver(t *testing.T) {
	story(t, func(w *world) {
		w.of["pi"].fields, w.of["pi"].takes, w.of["pi"].works = []string{"k3s.labels"}, 7*time.Second, 3*time.Minute
		w.of["vps"].steps, w.of["vps"].loses = []string{"identity"}, true
		o, err := w.prepare(all)
		if err != nil {
			w.t.Fatal(err)
		}
		begin := time.Now()
		if err := o.Run(w.t.Context(), false); err != nil {
			w.t.Fatal(err)
		}
		if got := strings.Join(w.given, " "); got != "pi vps" || time.Since(begin) < 3*time.Minute {
			w.t.Errorf("given to %s, in %v", got, time.Since(begin))
		}
		var words []string
		for _, n := range o.Nodes {
			words = append(words, n.Name+": "+n.Words())
		}
		want := "pi: works by it now: k3s.labels\nbox: works by it already\nvps: works by it now: goes through identity again"
		if got := strings.Join(words, "\n"); got != want {
			w.t.Errorf("%s\nwant %s", got, want)
		}
		if got := strings.Join(w.said, "; "); got != "pi gets its node.yaml; pi has not taken it yet; pi is at the step k3s; pi works by it; vps gets its node.yaml; vps works by it" {
			w.t.Error(got)
		}
	})
}

// TestAgain: a node that has the very file gets it no second time; where it is not done
// with that, nobody comes after it.
func TestAgain(t *testing.T) {
	for works, want := range map[time.Duration]string{0: "works by it already", time.Hour: "has it, and is not well yet: goes through k3s, verify again"} {
		story(t, func(w *world) {
			w.of["pi"].fields = []string{"k3s.labels"}
			o, err := w.prepare(roster.Choice{Names: []string{"pi"}})
			if err == nil {
				err = o.Run(w.t.Context(), false)
			}
			w.of["pi"].works, w.of["box"].fields = works, []string{"k3s.labels"}
			again, err2 := w.prepare(roster.Choice{Names: []string{"pi", "box"}})
			if err = errors.Join(err, err2); err != nil {
				w.t.Fatal(err)
			}
			if got := again.Nodes[0].Words(); got != want {
				w.t.Errorf("%s, want %s", got, want)
			}
			err = again.Run(w.t.Context(), false)
			if stopped := err != nil && strings.Contains(err.Error(), "pi: it does not work by its new node.yaml"); stopped != (works > 0) {
				w.t.Error(err)
			}
			if got, want := strings.Join(w.given, " "), map[time.Duration]string{0: "pi box", time.Hour: "pi"}[works]; got != want {
				w.t.Errorf("given to %s, not %s", got, want)
			}
		})
	}
}

// TestNotForAMoment: a k3s that starts and falls over is no node that works.
func TestNotForAMoment(t *testing.T) {
	story(t, func(w *world) {
		w.of["pi"].fields, w.of["pi"].steps, w.of["pi"].falls = []string{"k3s.labels"}, []string{"k3s"}, true
		w.of["box"].fields = []string{"k3s.labels"}
		o, err := w.prepare(all)
		if err == nil {
			err = o.Run(w.t.Context(), false)
		}
		if err == nil || !strings.Contains(err.Error(), "does not work by its new node.yaml") || slices.Contains(w.given, "box") {
			w.t.Errorf("%v; given to %v", err, w.given)
		}
	})
}

// TestNothingWasDone: what one of them cannot have, or should not without a word, none
// gets.
func TestNothingWasDone(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		fault  error
		want   string
	}{
		"another role":      {[]string{"k3s.labels", "role"}, nil, "box cannot have it: role cannot change on a node that runs"},
		"another Headscale": {[]string{"headscale.url"}, nil, "box cannot have it: headscale.url cannot change"},
		"another setting":   {[]string{"k3s.config"}, nil, "say --risky"},
		"another key":       {[]string{"ssh.authorizedKeys"}, nil, "without a key of yours among them"},
		"another network":   {[]string{"network.interfaces"}, nil, "box: network.interfaces: if it is wrong, nobody reaches the node"},
		"its certificate":   {[]string{"headscale.ca"}, nil, "say --risky"},
		"another token":     {[]string{"k3s.token"}, nil, "'k3s token rotate' on one of them comes first"},
		"another owner":     {[]string{"ownerKey"}, nil, "say --risky"},
		"silence":           {nil, &inquiry.SilentError{Why: "Connection\x1b refused"}, "box could not be asked: Connection"},
		"a refusal":         {nil, errors.New("firstboot: was signed\x1b[2J before"), "box cannot have it: firstboot: was signed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.of["pi"].fields = []string{"k3s.labels"}
			w.of["box"].fields, w.of["box"].fault = c.fields, c.fault
			o, err := w.prepare(all)
			if err == nil {
				err = o.Run(w.t.Context(), false)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was done") || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(w.given) > 0 {
				t.Errorf("given to %v", w.given)
			}
		})
	}
}

// TestUnasked: of a node that could not be asked nobody knows what would change; one
// that says no has said so.
func TestUnasked(t *testing.T) {
	w := newWorld(t)
	for fault, want := range map[error]string{
		nil: "", errors.New("was signed before"): "",
		&inquiry.SilentError{Why: "Connection refused"}: "what would change is not known of box: could not be asked",
	} {
		w.of["box"].fault = fault
		o, err := w.prepare(all)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Unasked(); (err != nil) != (want != "") || err != nil && err.Error() != want {
			t.Errorf("%v: %v, want %q", fault, err, want)
		}
		if words := o.Nodes[slices.IndexFunc(o.Nodes, func(n Node) bool { return n.Name == "box" })].Words(); strings.HasPrefix(words, "could not be asked: Connection") != (want != "") {
			t.Error(words)
		}
	}
	for what, err := range map[string]error{"a plan": (&Order{}).Unasked(), "a run": (&Order{}).Run(t.Context(), false)} {
		if err == nil || !strings.Contains(err.Error(), "none of them is there") {
			t.Errorf("%s of nobody: %v", what, err)
		}
	}
}

// TestRisky: with a word for it, it is done.
func TestRisky(t *testing.T) {
	story(t, func(w *world) {
		w.of["box"].fields = []string{"network.wifi"}
		o, err := w.prepare(roster.Choice{Names: []string{"box"}})
		if err != nil {
			w.t.Fatal(err)
		}
		if err := o.Run(w.t.Context(), true); err != nil || len(w.given) != 1 {
			w.t.Errorf("%v: given to %v", err, w.given)
		}
	})
}

// TestHas: only what a node was given, or said to have, it has.
func TestHas(t *testing.T) {
	story(t, func(w *world) {
		w.of["pi"].fields = []string{"k3s.labels"} // the others work by files that say the same
		o, err := w.prepare(all)
		if err == nil {
			err = o.Run(w.t.Context(), false)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for _, n := range o.Nodes {
			if n.Has != (n.Name == "pi") || n.Given != n.Has {
				w.t.Errorf("%+v", n)
			}
		}
	})
}

// TestNotes: what a node takes a part of, or more than changed, is told, and in nobody's
// way.
func TestNotes(t *testing.T) {
	for what, c := range map[string]struct{ fields, steps, want []string }{
		"taints":  {[]string{"k3s.taints"}, nil, []string{"kubectl taint"}},
		"objects": {[]string{"k3s.seed.manifests"}, nil, []string{"delete helmchart argocd", "numberOfReplicas"}},
		"secrets": {nil, []string{"k3s", "secrets"}, []string{"rollout restart", "delete secret"}},
		"nothing": {nil, []string{"k3s"}, nil},
	} {
		w := newWorld(t)
		w.of["box"].fields, w.of["box"].steps = c.fields, c.steps
		o, err := w.prepare(roster.Choice{Names: []string{"box"}})
		if err != nil {
			t.Fatal(err)
		}
		notes := o.Nodes[0].Notes
		if !slices.EqualFunc(notes, c.want, strings.Contains) || len(o.Nodes[0].Risks) != 0 {
			t.Errorf("%s: %q, want %q", what, notes, c.want)
		}
	}
}

// TestAway: of many those that are there get it; one that is named has to be.
func TestAway(t *testing.T) {
	w := newWorld(t)
	o, err := w.prepare(all, "box")
	if err != nil || len(o.Nodes) != 2 || fmt.Sprint(o.Away) != "[box]" {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := w.prepare(roster.Choice{Names: []string{"box"}}, "box"); err == nil || !strings.Contains(err.Error(), "box is not there") {
		t.Error(err)
	}
	if _, err := w.prepare(roster.Choice{Names: []string{"po"}}); err == nil || !strings.Contains(err.Error(), `"po"`) {
		t.Error(err)
	}
}

// TestOldImages have no such verb, or another answer.
func TestOldImages(t *testing.T) {
	o := &Order{line: func(context.Context, string, string, io.Reader) ([]byte, error) { return []byte("{}"), nil }}
	n := &Node{Name: "pi"}
	if o.foresee(t.Context(), n); !strings.Contains(n.Against, "its image is older") {
		t.Error(n.Against)
	}
}

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
	fault         error         // the error of every question
	refuses       error         // the error of "firstboot offer"
	loses         bool          // the connection breaks before the answer, or before the request
	takes         time.Duration // how long until the node has accepted the file
	works         time.Duration // how long its steps take from then on
	falls         bool          // its k3s fails again every minute
	isNew         bool          // nobody has switched it on yet
	status        string        // the node's status, "" for one that is well
	charts        []contract.ChartChange

	has string
	at  time.Time
}

// world has nodes, and records what they were told.
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

// line is the Line to the nodes. A node refuses what is not signed for it.
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
		return map[string]any{"inForce": false, "fields": m.fields, "steps": m.steps, "charts": m.charts}
	case since < m.takes+m.works, m.falls && since%time.Minute > 40*time.Second:
		return map[string]any{"inForce": true, "steps": []string{"k3s", "verify"}}
	}
	return map[string]any{"inForce": true}
}

// unsigned is a file without its signature, by which a node compares files.
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

// rows are the rows of all nodes; those in away are offline.
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

// story runs tell in a world with fake time.
func story(t *testing.T, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(newWorld(t)) })
}

var all = roster.Choice{All: true}

// TestHandedOver: servers first, the machine with Headscale last, each after the previous
// one works by its file. A node for which nothing changes gets nothing.
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

// TestAgain: a node that has exactly this file does not get it again. If it has not finished
// its steps, the nodes after it wait.
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

// TestNotForAMoment: a node whose k3s starts and fails soon after does not count as working.
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

// TestNothingWasDone: if one node cannot have its file, or has a risk that nobody accepted,
// no node gets one.
func TestNothingWasDone(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		fault  error
		want   string
	}{
		"another role":      {[]string{"k3s.labels", "role"}, nil, "box cannot have it: role cannot change on a node that runs"},
		"another Headscale": {[]string{"headscale.url"}, nil, "with that url: in fleet.yaml its other changes reach it"},
		"another setting":   {[]string{"k3s.config"}, nil, "say --risky"},
		"another key":       {[]string{"ssh.authorizedKeys"}, nil, "without a key of yours among them"},
		"another network":   {[]string{"network.interfaces"}, nil, "box: network.interfaces: if it is wrong, nobody reaches the node"},
		"its certificate":   {[]string{"headscale.ca"}, nil, "say --risky"},
		"another token":     {[]string{"k3s.token"}, nil, "'k3s token rotate' on one of them comes first"},
		"its Headscale's":   {[]string{"control.key"}, nil, "if it is wrong, no node reaches another"},
		"an older node's":   {[]string{"control"}, nil, "if it is wrong, no node reaches another"},
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

// TestUnasked: it is not known what would change on a node that could not be asked. A node
// that refuses was asked.
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

// TestRisky: with risky, it is done.
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

// TestHas: Has is true only for nodes that were given the file, or said that they have it.
func TestHas(t *testing.T) {
	story(t, func(w *world) {
		w.of["pi"].fields = []string{"k3s.labels"} // the other nodes work by equivalent files
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

// TestNotes: partial effects, and effects beyond the change, are reported, but do not
// prevent it.
func TestNotes(t *testing.T) {
	for what, c := range map[string]struct{ fields, steps, want []string }{
		"taints":  {[]string{"k3s.taints"}, nil, []string{"kubectl taint"}},
		"objects": {[]string{"k3s.seed.manifests"}, nil, []string{"delete helmchart argocd", "numberOfReplicas"}},
		"secrets": {nil, []string{"k3s", "secrets"}, []string{"rollout restart", "delete secret"}},
		"names":   {[]string{"control.names.hosts"}, nil, nil},
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

// TestAway: with a choice of many, those that are online get it; a node that is named must
// be online.
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

// TestOldImages: their firstboot has no such command, or answers differently.
func TestOldImages(t *testing.T) {
	o := &Order{line: func(context.Context, string, string, io.Reader) ([]byte, error) { return []byte("{}"), nil }}
	n := &Node{Name: "pi"}
	if o.foresee(t.Context(), n); !strings.Contains(n.Against, "its image is older") {
		t.Error(n.Against)
	}
}

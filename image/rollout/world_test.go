package rollout

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/roster"
	"github.com/going-mobile/imagebuilder/image/update"
)

// house has two sites with a server and an agent each, a witness on Headscale's machine, and
// one node with another board.
const house = `version: 1
cluster:
  name: shed
  headscale:
    url: https://hs.example.org
    server: {hostKey: {file: a}, loginKey: {file: b}}
  k3s: {token: {env: T}, agentToken: {env: A}}
sites: {home: {}, cabin: {}, cloud: {}}
nodes:
  home-pi: {board: rpi4, site: home, role: server}
  vps: {board: rpi4, site: cloud, role: [control, witness]}
  cabin-pi: {board: rpi4, site: cabin, role: server}
  cabin-box: {board: rpi4, site: cabin, role: agent}
  home-box: {board: rpi4, site: home, role: agent}
`

func loadFleet(t *testing.T, text string) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const joined = contract.StateJoined

// machine is a node of the fake world.
type machine struct {
	inquiry.Life
	k3s     string
	staged  string // the image in the other slot
	booted  int
	broken  bool // the update does not prove itself
	slow    bool // nor does it in three tries, each as long as it may be
	unsure  bool // it is never blessed
	lost    bool // it does not come back
	back    time.Time
	cordon  string // by whom
	pods    []kube.Pod
	refuses string // why pods do not go
}

// world is a fleet that lives in memory.
type world struct {
	t        *testing.T
	fleet    *fleet.Fleet
	machines map[string]*machine
	offline  map[string]bool
	posted   map[string]bool // their cards are made, and no node has joined with them
	sick     []kube.Volume
	gone     string // a node that Headscale does not see, although the cluster still does
	bare     bool   // the update has no Headscale
	lingers  bool   // nodes answer as before until they are back
	apiDown  error
	did      []string                // the changes that were made, in order
	when     map[string]time.Time    // it was done first
	on       map[string]func(*world) // what happens when something is done, by its name
}

const (
	rebootTime = 3 * time.Minute
	tryTime    = 35 * time.Minute
	// Of three tries each is ended by firstboot-deadline.timer, and followed by a start.
	fallbackTime = 3*(40*time.Minute+rebootTime) + rebootTime
)

func newWorld(t *testing.T, text string) *world {
	w := &world{t: t, fleet: loadFleet(t, text), machines: map[string]*machine{}, offline: map[string]bool{}, when: map[string]time.Time{}, on: map[string]func(*world){}}
	for _, name := range w.fleet.Nodes.Names {
		m := &machine{k3s: "v1.36.4+k3s1"}
		m.State, m.Slot, m.Good, m.Image, m.Boot = joined, "a", "a", "1", name+" 0"
		m.pods = []kube.Pod{{Namespace: "default", Name: "app-on-" + name, UID: "1"}}
		w.machines[name] = m
	}
	return w
}

func (w *world) do(what string) {
	if w.did = append(w.did, what); w.when[what].IsZero() {
		w.when[what] = time.Now()
	}
	if f := w.on[what]; f != nil {
		f(w)
	}
}

func (w *world) rows() (rows []roster.Row) {
	for _, name := range w.fleet.Nodes.Names {
		r := roster.Row{Node: name, State: roster.Online, Address: netip.MustParseAddr("100.64.0.1")}
		if w.offline[name] {
			r.State = roster.Offline
		}
		if w.posted[name] {
			r = roster.Row{Node: name, State: roster.Waiting, New: true}
		}
		rows = append(rows, r)
	}
	return rows
}

func (w *world) Online(context.Context) (map[string]bool, error) {
	online := map[string]bool{}
	for name := range w.machines {
		online[name] = !w.offline[name] && !w.posted[name] && name != w.gone
	}
	return online, nil
}

// settle completes what time would have completed.
func (m *machine) settle() {
	if m.back.IsZero() || m.lost || time.Now().Before(m.back) {
		return
	}
	m.back = time.Time{}
	m.Boot, m.booted = fmt.Sprint(m.Boot, "+"), m.booted+1
	if !m.broken {
		m.Slot, m.Image = other(m.Slot), m.staged
		if !m.unsure {
			m.Good = m.Slot
		}
	} else {
		m.Problem, m.Remedy = "", ""
		m.Notice = "slot b's k3s did not start"
	}
	m.staged = ""
}

func other(slot string) string { return map[string]string{"a": "b", "b": "a"}[slot] }

func (w *world) Ask(_ context.Context, names ...string) (all []inquiry.Life) {
	for _, name := range names {
		m := w.machines[name]
		m.settle()
		r := m.Life
		if !m.back.IsZero() && !w.lingers || w.offline[name] {
			r = inquiry.Life{}
			r.Silent = "no answer in time"
		}
		if r.Up == 0 {
			r.Up = time.Since(w.when["restart "+name])
		}
		all = append(all, r)
	}
	return all
}

func (w *world) Push(_ context.Context, name, file string) (update.Answer, error) {
	m := w.machines[name]
	if w.offline[name] {
		return update.Answer{}, errors.New("no answer in time")
	}
	if board, _ := w.fleet.Nodes.Get(name); file != "for "+board.Board {
		w.t.Errorf("%s gets %q", name, file)
	}
	w.do("push " + name)
	if m.Image == "2" {
		return update.Answer{Node: name, Slot: m.Slot, Version: "2"}, nil
	}
	m.staged = "2"
	return update.Answer{Node: name, Installed: true, Slot: other(m.Slot), Version: "2", Fetched: 5}, nil
}

func (w *world) Snapshot(_ context.Context, name string) error {
	w.do("snapshot " + name)
	return w.failure("snapshot " + name)
}

// failure is the planned failure of an action.
func (w *world) failure(what string) error {
	if w.on["fail "+what] != nil {
		return errors.New(what + " does not work")
	}
	return nil
}

// Restart also checks that never two nodes are away at once.
func (w *world) Restart(_ context.Context, name string) error {
	for _, other := range w.fleet.Nodes.Names {
		if m := w.machines[other]; !m.back.IsZero() || m.cordon == by && other != name {
			w.t.Errorf("%s restarts while %s is away, or empty", name, other)
		}
	}
	w.do("restart " + name)
	m := w.machines[name]
	m.back = time.Now().Add(rebootTime)
	if m.broken {
		m.back = time.Now().Add(tryTime)
	}
	if m.slow {
		m.back = time.Now().Add(fallbackTime)
	}
	return nil
}

func (w *world) Nodes(context.Context) (all []kube.Node, err error) {
	for _, name := range w.fleet.Nodes.Names {
		m := w.machines[name]
		m.settle()
		if w.posted[name] {
			continue
		}
		n := kube.Node{Name: name, Version: m.k3s, Cordoned: m.cordon != "", Mark: m.cordon}
		if !m.back.IsZero() || w.offline[name] {
			n.Fault = "kubelet stopped posting node status"
		}
		all = append(all, n)
	}
	return all, w.apiDown
}

func (w *world) SickVolumes(context.Context) ([]kube.Volume, error) { return w.sick, w.apiDown }

func (w *world) Cordon(_ context.Context, name string) (bool, error) {
	m := w.machines[name]
	if m.cordon == "a person" {
		return false, w.apiDown
	}
	w.do("cordon " + name)
	m.cordon = by
	return true, w.apiDown
}

func (w *world) Uncordon(ctx context.Context, name string) error {
	if w.apiDown != nil || ctx.Err() != nil {
		return errors.Join(w.apiDown, ctx.Err())
	}
	if m := w.machines[name]; m.cordon == by {
		m.cordon = ""
		w.do("uncordon " + name)
	}
	return nil
}

func (w *world) Pods(_ context.Context, name string) ([]kube.Pod, error) {
	return slices.Clone(w.machines[name].pods), w.apiDown
}

func (w *world) Evict(_ context.Context, p kube.Pod) error {
	for name, m := range w.machines {
		at := slices.Index(m.pods, p)
		if at >= 0 && m.refuses != "" {
			w.do("refuse " + name)
			return &kube.Refusal{Status: 429, Words: m.refuses}
		}
		if at >= 0 {
			w.do("evict " + name)
			m.pods = slices.Delete(m.pods, at, at+1)
		}
	}
	return nil
}

var patient = Options{Restart: true, Soak: 30 * time.Minute, Drain: 10 * time.Minute, Heal: 2 * time.Hour}

var all = roster.Choice{All: true}

// prepare is Prepare with an update of an image, "2", with a k3s.
func (w *world) prepare(c roster.Choice, o Options, k3s string) (*Rollout, error) {
	return Prepare(w.t.Context(), w.fleet, w.rows(), w, []Update{{"rpi4", "2", k3s, !w.bare}}, c, o)
}

const sameK3s, nextK3s = "v1.36.5+k3s1", "v1.37.0+k3s1"

// run prepares a rollout and runs it.
func (w *world) run(ctx context.Context, c roster.Choice, o Options, k3s string) ([]Outcome, error) {
	w.t.Helper()
	r, err := w.prepare(c, o, k3s)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Run(ctx, map[string]string{"rpi4": "for rpi4"})
}

// trace lists the actions that begin with one of words.
func (w *world) trace(words ...string) string {
	var out []string
	for _, d := range w.did {
		if slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(d, word+" ") }) {
			out = append(out, d)
		}
	}
	return strings.Join(out, ", ")
}

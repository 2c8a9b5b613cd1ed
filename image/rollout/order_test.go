package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/roster"
)

// threeServers are at two sites, with a witness and agents; Headscale is elsewhere.
const threeServers = `version: 1
cluster:
  name: shed
  headscale: {url: "https://hs.example.org"}
  k3s: {token: {env: T}, agentToken: {env: A}}
sites: {home: {}, cabin: {}}
nodes:
  one: {board: rpi4, site: home, role: server}
  two: {board: rpi4, site: home, role: server}
  wit: {board: rpi4, site: home, role: witness}
  six: {board: rpi4, site: cabin, role: agent}
  ten: {board: rpi4, site: cabin, role: server}
  fox: {board: rpi4, site: home, role: agent}
  far: {board: other, site: cabin, role: agent}
`

// TestOrder: agents of one site come first, unless k3s' minor version changes; the node that
// runs Headscale comes last.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		fleet, k3s string
		choice     roster.Choice
		canary     string
		want       string // "|" is where the first site soaks
	}{
		{house, sameK3s, all, "", "cabin-box cabin-pi | home-box home-pi vps"},
		{house, nextK3s, all, "", "home-pi | cabin-pi home-box | cabin-box vps"},
		{house, "", all, "", "cabin-box cabin-pi | home-box home-pi vps"}, // an image without k3s
		{house, sameK3s, all, "home-pi", "home-pi home-box | cabin-box cabin-pi vps"},
		{house, sameK3s, all, "home-box", "home-box home-pi | cabin-box cabin-pi vps"},
		{house, nextK3s, all, "cabin-pi", "cabin-pi | home-pi cabin-box | home-box vps"},
		{house, sameK3s, roster.Choice{Site: "home"}, "", "home-box home-pi"},
		{house, sameK3s, roster.Choice{Names: []string{"vps", "home-pi"}}, "", "home-pi | vps"},
		{house, sameK3s, roster.Choice{Names: []string{"vps"}}, "", "vps"},
		{threeServers, sameK3s, all, "", "six ten | fox one two wit"},
		{threeServers, nextK3s, all, "", "one two | ten wit fox | six"},
		{threeServers, nextK3s, all, "ten", "ten | one two wit six | fox"},
		{threeServers, sameK3s, roster.Choice{Names: []string{"wit", "ten"}}, "", "wit | ten"},
	} {
		w := newWorld(t, c.fleet)
		o := patient
		o.Canary = c.canary
		r, err := w.prepare(c.choice, o, c.k3s)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		var got []string
		for _, s := range r.Plan(t.Context()).Steps {
			if strings.HasPrefix(s.Do[0], "wait until ") {
				got = append(got, "|")
			}
			got = append(got, s.Node)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %v %s:\n%s, want\n%s", c.k3s, c.choice, c.canary, strings.Join(got, " "), c.want)
		}
	}
}

// TestRefusals: choices that make no sense, and updates that would end badly.
func TestRefusals(t *testing.T) {
	away := func(w *world) { w.offline["cabin-pi"] = true }
	for _, c := range []struct {
		fleet, k3s string
		choice     roster.Choice
		canary     string
		change     func(*world)
		want       string
	}{
		{house, sameK3s, roster.Choice{}, "", nil, "say which nodes: NODE or more, or --site SITE, or --all"},
		{house, sameK3s, roster.Choice{Names: []string{"vps"}, All: true}, "", nil, "say which nodes"},
		{house, sameK3s, roster.Choice{Site: "home", All: true}, "", nil, "say which nodes"},
		{house, sameK3s, roster.Choice{Names: []string{"vps", "vps"}}, "", nil, "vps is named twice"},
		{house, sameK3s, roster.Choice{Names: []string{"vp"}}, "", nil, `did you mean "vps"?`},
		{house, sameK3s, roster.Choice{Site: "hom"}, "", nil, `did you mean "home"?`},
		{house, sameK3s, roster.Choice{Names: []string{"home-pi", "cabin-pi"}}, "", away, "nothing was done: cabin-pi is not there: Headscale does not see it"},
		{threeServers, sameK3s, roster.Choice{Names: []string{"ten", "far"}}, "", nil, "far cannot have it: its board is other, the image is for rpi4"},
		{house, sameK3s, roster.Choice{Site: "home"}, "cabin-pi", nil, "--canary cabin-pi: it is not among"},
		{house, sameK3s, all, "vps", nil, "--canary vps: it runs Headscale, and comes last"},
		{house, nextK3s, all, "cabin-box", nil, "servers have to come first: name one, such as home-pi"},
		{house, nextK3s, roster.Choice{Site: "home"}, "", nil, "home-box would get k3s v1.37.0+k3s1, and the server cabin-pi runs v1.36.4+k3s1: servers get a new minor version first"},
		{house, nextK3s, all, "", away, "home-box would get k3s"},
		{house, nextK3s, roster.Choice{Names: []string{"vps"}}, "", nil, "vps would get k3s"}, // its kubelet
		{house, nextK3s, roster.Choice{Names: []string{"home-pi"}}, "", func(w *world) { w.machines["cabin-pi"].k3s = "v1.35.1+k3s1" }, "between servers there may be one minor version"},
		{house, nextK3s, roster.Choice{Names: []string{"home-pi"}}, "", func(w *world) { w.machines["cabin-box"].k3s = "v1.33.1+k3s1" }, "cabin-box runs v1.33.1+k3s1, which is too old"},
		{house, sameK3s, all, "", func(w *world) { w.apiDown = fmt.Errorf("the API is away") }, "nothing was done: the API is away"},
	} {
		w := newWorld(t, c.fleet)
		if c.change != nil {
			c.change(w)
		}
		o := patient
		o.Canary = c.canary
		if _, err := w.prepare(c.choice, o, c.k3s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.choice, err, c.want)
		}
		if len(w.did) > 0 {
			t.Errorf("%v: it did %v", c.choice, w.did)
		}
	}
}

// TestSkewWithoutRestart: a node that only receives an update may run it after any power
// cut. So no kubelet receives a version that the servers do not run, or may not run, yet.
func TestSkewWithoutRestart(t *testing.T) {
	servers, agent := roster.Choice{Names: []string{"home-pi", "cabin-pi"}}, roster.Choice{Names: []string{"home-box"}}
	ahead := func(w *world) { w.machines["home-pi"].k3s, w.machines["cabin-pi"].k3s = nextK3s, nextK3s }
	down := func(w *world) { w.apiDown = fmt.Errorf("the API is away") }
	for _, c := range []struct {
		k3s    string
		choice roster.Choice
		change func(*world)
		want   string
	}{
		{sameK3s, all, nil, ""},
		{nextK3s, servers, nil, ""},
		{nextK3s, all, ahead, ""},
		{nextK3s, servers, down, ""},
		{"", all, down, ""},
		{nextK3s, all, nil, "home-box would get k3s v1.37.0+k3s1, and the server home-pi runs v1.36.4+k3s1: without --reboot it only receives the new minor version"},
		{nextK3s, agent, nil, "servers get a new minor version first"},
		{nextK3s, roster.Choice{Names: []string{"vps"}}, nil, "servers get a new minor version first"},
		{nextK3s, all, down, "and the cluster does not say what they run: name only servers"},
		{sameK3s, agent, down, "home-box would get k3s v1.36.5+k3s1, which must not be newer than the servers'"},
	} {
		w := newWorld(t, house)
		if c.change != nil {
			c.change(w)
		}
		if _, err := w.prepare(c.choice, Options{}, c.k3s); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %q", c.k3s, c.choice, err, c.want)
		}
	}
}

// TestOneServerAtATimeIsWithinTheSkew: servers and older agents within the allowed skew are
// accepted.
func TestOneServerAtATimeIsWithinTheSkew(t *testing.T) {
	w := newWorld(t, house)
	w.machines["cabin-box"].k3s = "v1.34.1+k3s1"
	if _, err := w.prepare(roster.Choice{Names: []string{"home-pi"}}, patient, nextK3s); err != nil {
		t.Error(err)
	}
}

// TestLeftOut: with a choice of many, nodes that cannot have the update are left out and
// reported.
func TestLeftOut(t *testing.T) {
	w := newWorld(t, threeServers)
	w.offline["two"] = true
	r, err := w.prepare(all, patient, sameK3s)
	if err != nil {
		t.Fatal(err)
	}
	want := "[{two " + unseen + " true} {far its board is other, the image is for rpi4 false}]"
	if got := fmt.Sprint(r.LeftOut()); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	own := newWorld(t, house)
	own.bare = true
	if r, err = own.prepare(all, patient, sameK3s); err != nil || fmt.Sprint(r.LeftOut()) != "[{vps it runs Headscale, which the image lacks false}]" {
		t.Error(r.LeftOut(), err)
	}
	if _, err := w.prepare(roster.Choice{Names: []string{"two"}}, Options{Wait: 1}, ""); err != nil {
		t.Error("who is waited for is refused:", err)
	}
}

// TestPlan: the actions on each node, what users notice, and what prevents it.
func TestPlan(t *testing.T) {
	w := newWorld(t, threeServers)
	w.offline["two"] = true
	r, err := w.prepare(roster.Choice{Names: []string{"one", "fox"}}, patient, sameK3s)
	if err != nil {
		t.Fatal(err)
	}
	p := r.Plan(t.Context())
	if got := fmt.Sprint(p.Steps[0]); got != "{fox agent home [push the update cordon, and drain for 10m0s at most restart, and wait until its trial is blessed uncordon wait until Longhorn has healed, for 2h0m0s at most]  []}" {
		t.Error(got)
	}
	if got := fmt.Sprint(p.Steps[1].Do[:2], p.Steps[1].Against); got != "[push the update save a snapshot of etcd] [server two is not ready: kubelet stopped posting node status]" {
		t.Error(got)
	}
	if len(w.did) > 0 {
		t.Errorf("a plan did %v", w.did)
	}
	few := newWorld(t, strings.ReplaceAll(strings.ReplaceAll(house, "role: [control, witness]", "role: control"), "cabin-pi: {board: rpi4, site: cabin, role: server}", "cabin-pi: {board: rpi4, site: cabin, role: agent}"))
	if r, err = few.prepare(all, patient, sameK3s); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Plan(t.Context()).Steps {
		if (s.Node == "home-pi") != (s.Note == "the cluster's API does not answer meanwhile: it is the only server") {
			t.Errorf("%+v", s)
		}
		if s.Node == "vps" && fmt.Sprint(s.Do) != "[push the update restart, and wait until its trial is blessed]" {
			t.Errorf("%q", s.Do)
		}
	}
}

// TestTwoBoards: a rollout has an image for each of two boards, and leaves out nodes of a
// third. Both images have the same minor version of k3s, and a new one affects the order of
// all.
func TestTwoBoards(t *testing.T) {
	mixed := strings.NewReplacer("cabin-box: {board: rpi4", "cabin-box: {board: optiplex-7050", "home-box: {board: rpi4", "home-box: {board: other").Replace(house)
	w := newWorld(t, mixed)
	pi, pc := Update{"rpi4", "2", nextK3s, true}, Update{"optiplex-7050", "2", nextK3s, false}
	for _, name := range []string{"home-pi", "cabin-pi"} { // otherwise only servers may receive it
		w.machines[name].k3s = nextK3s
	}
	r, err := Prepare(t.Context(), w.fleet, w.rows(), w, []Update{pi, pc}, all, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if left := fmt.Sprint(r.LeftOut()); left != "[{home-box its board is other, the image is for rpi4, another for optiplex-7050 false}]" {
		t.Error(left)
	}
	done, err := r.Run(t.Context(), map[string]string{"rpi4": "for rpi4", "optiplex-7050": "for optiplex-7050"})
	if got := nodesOf(done); err != nil || !slices.Contains(got, "cabin-box") || len(got) != 4 {
		t.Errorf("%v, %v", got, err)
	}
	w.machines["home-pi"].k3s = sameK3s
	if r, err = Prepare(t.Context(), w.fleet, w.rows(), w, []Update{pi, pc}, roster.Choice{Site: "cabin"}, patient); err == nil || !strings.Contains(err.Error(), "servers get a new minor version first") {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Prepare(t.Context(), w.fleet, w.rows(), w, []Update{pi, pc}, roster.Choice{Names: []string{"home-pi"}}, patient); err == nil || !strings.Contains(err.Error(), "none of the nodes has board optiplex-7050") {
		t.Errorf("an image for nobody: %v", err)
	}
	for want, updates := range map[string][]Update{
		"two images are for board rpi4: 2 and 3":                                                           {pi, {Board: "rpi4", Version: "3"}},
		"several minor versions of k3s: v1.37.0+k3s1 for board rpi4, v1.36.5+k3s1 for board optiplex-7050": {pi, {Board: "optiplex-7050", K3s: sameK3s}},
	} {
		if _, err := Prepare(t.Context(), w.fleet, w.rows(), w, updates, all, patient); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

package revoke

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/replace"
)

// world notes what is done, in order.
type world struct {
	nodes []headscale.Node
	done  []string
	fault error
}

func (w *world) Nodes(context.Context) ([]headscale.Node, error) { return w.nodes, nil }

func (w *world) DeleteNode(_ context.Context, id headscale.ID) error {
	w.done = append(w.done, "delete "+string(id))
	w.nodes = slices.DeleteFunc(w.nodes, func(n headscale.Node) bool { return n.ID == id })
	return nil
}

func (w *world) Revoke(_ context.Context, numbers []string) error {
	w.done = append(w.done, "refuse "+strings.Join(numbers, " "))
	return w.fault
}

func prepare(t *testing.T, w *world, name string, changes ...string) (*Order, error) {
	t.Helper()
	changes = append([]string{"sites:\n", "  storage: {encrypt: true}\nsites:\n"}, changes...)
	f, err := fleet.Load("fleet.yaml", []byte(strings.NewReplacer(changes...).Replace(string(fleet.Example))), nil)
	if err != nil {
		t.Fatal(err)
	}
	return Prepare(t.Context(), f, w, w, name, replace.Options{ByHand: true})
}

func stolen() *world {
	return &world{nodes: []headscale.Node{{ID: "7", GivenName: "cabin-box", Tags: []string{"tag:k3s-agent", "tag:site-cabin"}, Online: true}, {ID: "8", GivenName: "home-pi"}}}
}

// TestRevoke: the shares first, then the tailnet, though the node is online; and a holder
// that is away keeps nothing from being done.
func TestRevoke(t *testing.T) {
	w := stolen()
	w.fault = errors.New("home-pi: no answer in time")
	o, err := prepare(t, w, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	if s := o.Steps(); len(s) != 3 || !strings.Contains(s[0], "vps, home-pi refuse") || !strings.Contains(s[1], "number 7") || len(w.done) > 0 {
		t.Errorf("%q, %q", s, w.done)
	}
	if err := o.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "home-pi: no answer") {
		t.Error(err)
	}
	if !slices.Equal(w.done, []string{"refuse 7", "delete 7"}) {
		t.Errorf("%q", w.done)
	}
	w.fault, w.done = nil, nil
	if o, err = prepare(t, w, "cabin-box"); err != nil {
		t.Fatal(err)
	}
	if err := o.Do(t.Context()); err != nil || !slices.Equal(w.done, []string{"refuse "}) {
		t.Errorf("again: %v, %q", err, w.done)
	}
	if a := strings.Join(o.Advice(), "\n"); !strings.Contains(a, "while it ran") || !strings.Contains(a, "agent's token") {
		t.Error(a)
	}
}

// TestWhoIsNotEncrypted has no shares, and more to change.
func TestWhoIsNotEncrypted(t *testing.T) {
	w := stolen()
	o, err := prepare(t, w, "cabin-box", "  cabin-box: {", "  cabin-box: {storage: {encrypt: false}, ")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Do(t.Context()); err != nil || !slices.Equal(w.done, []string{"delete 7"}) {
		t.Errorf("%v, %q", err, w.done)
	}
	if a := strings.Join(o.Advice(), "\n"); strings.Contains(a, "while it ran") {
		t.Error(a)
	}
	if o, err = prepare(t, stolen(), "home-pi", "  cabin-box: {", "  cabin-box: {storage: {encrypt: false}, "); err == nil && !strings.Contains(strings.Join(o.Advice(), ""), "token rotate") {
		t.Error(o.Advice())
	}
}

// TestRefusals: nothing is done where it would be the wrong thing.
func TestRefusals(t *testing.T) {
	w := stolen()
	if _, err := prepare(t, w, "vps"); err == nil || !strings.Contains(err.Error(), "runs Headscale") {
		t.Error(err)
	}
	if _, err := prepare(t, w, "cabin-bix"); err == nil || !strings.Contains(err.Error(), "did you mean") {
		t.Error(err)
	}
	w.nodes[0].Tags = nil
	if _, err := prepare(t, w, "cabin-box"); err == nil || !strings.Contains(err.Error(), "none of this fleet") {
		t.Error(err)
	}
	if len(w.done) > 0 {
		t.Errorf("%q", w.done)
	}
}

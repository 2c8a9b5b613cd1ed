package revoke

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// world records what is done, in order.
type world struct {
	dir    string // of the fleet
	nodes  []headscale.Node
	done   []string
	away   []string // holders
	silent error
	keys   []headscale.Key
	hidden error // why no key is listed
	stuck  error // why no key can be expired
}

func (w *world) Nodes(context.Context) ([]headscale.Node, error) { return w.nodes, w.silent }

func (w *world) DeleteNode(_ context.Context, id headscale.ID) error {
	w.done = append(w.done, "delete "+string(id))
	w.nodes = slices.DeleteFunc(w.nodes, func(n headscale.Node) bool { return n.ID == id })
	return nil
}

func (w *world) ListKeys(context.Context) ([]headscale.Key, error) {
	return w.keys, errors.Join(w.silent, w.hidden)
}

func (w *world) ExpireKey(_ context.Context, k headscale.Key) error {
	if w.stuck != nil {
		return w.stuck
	}
	w.done = append(w.done, "expire "+string(k.ID))
	for i := range w.keys {
		if w.keys[i].ID == k.ID {
			w.keys[i].Expiration = time.Now().Add(-time.Second)
		}
	}
	return nil
}

func (w *world) Revoke(_ context.Context, names, numbers []string, only bool) (told []string, err error) {
	for _, name := range names {
		if slices.Contains(w.away, name) {
			err = errors.Join(err, errors.New(name+": no answer in time"))
			continue
		}
		told = append(told, name)
		w.done = append(w.done, fmt.Sprint(name, " refuses ", numbers, map[bool]string{true: " only"}[only]))
	}
	return told, err
}

func prepare(t *testing.T, w *world, name string, changes ...string) (*Order, error) {
	t.Helper()
	return w.prepare(t, name, Options{}, changes...)
}

func (w *world) prepare(t *testing.T, name string, o Options, changes ...string) (*Order, error) {
	t.Helper()
	changes = append([]string{"sites:\n", "  storage: {encrypt: true}\nsites:\n"}, changes...)
	if w.dir == "" {
		w.dir = t.TempDir()
	}
	f, err := fleet.Load(filepath.Join(w.dir, fleet.FileName), []byte(strings.NewReplacer(changes...).Replace(string(fleet.Example))), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Cluster.ByHand = true
	return Prepare(t.Context(), f, w, w, name, o)
}

// does revokes cabin-box, and checks what is done; left is what must be left, "" for
// nothing.
func (w *world) does(t *testing.T, o Options, left string, want ...string) {
	t.Helper()
	w.done = nil
	order, err := w.prepare(t, "cabin-box", o)
	if err != nil {
		t.Fatal(err)
	}
	err = order.Do(t.Context())
	if !slices.Equal(w.done, want) || (err != nil) != (left != "") || err != nil && !strings.Contains(err.Error(), left) {
		t.Errorf("%q, %v; want %q, %q", w.done, err, want, left)
	}
}

var cabinTags = []string{"tag:k3s-agent", "tag:site-cabin"}

func stolen() *world {
	return &world{nodes: []headscale.Node{{ID: "7", GivenName: "cabin-box", Tags: cabinTags, Online: true}, {ID: "8", GivenName: "home-pi"}}}
}

// replaced adds a new machine with the name.
func (w *world) replaced() {
	w.nodes = append(w.nodes, headscale.Node{ID: "12", GivenName: "cabin-box", Tags: cabinTags, Created: time.Now().Add(time.Hour)})
}

// TestRevoke: the shares first, then the tailnet, although the node is online. A holder that
// is offline does not prevent the rest; a repeated call tells it.
func TestRevoke(t *testing.T) {
	w := stolen()
	w.away = []string{"home-pi"}
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
	if !slices.Equal(w.done, []string{"vps refuses [7]", "delete 7"}) {
		t.Errorf("%q", w.done)
	}
	if fi, err := os.Stat(filepath.Join(w.dir, fleet.SecretsDir, "revoked", "cabin-box.json")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi, err)
	}
	w.away = nil
	w.does(t, Options{}, "", "home-pi refuses [7]")
	w.does(t, Options{}, "")
	if a := strings.Join(o.Advice(), "\n"); !strings.Contains(a, "while it ran") || !strings.Contains(a, "agent's token") {
		t.Error(a)
	}
}

// TestAgainAfterTheNewCard: the machine that took the name is left alone at the holders, in
// the tailnet and in the cluster, unless its owner says that it is stolen as well.
func TestAgainAfterTheNewCard(t *testing.T) {
	w := stolen()
	w.away = []string{"home-pi"}
	w.does(t, Options{}, "home-pi", "vps refuses [7]", "delete 7")
	w.replaced()
	w.away = nil
	o, err := prepare(t, w, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	if s := o.Steps(); len(s) != 2 || !strings.Contains(s[0], "have home-pi refuse") || !strings.Contains(s[1], "leave the cabin-box of today alone (number 12)") {
		t.Errorf("%q", s)
	}
	w.does(t, Options{}, "", "home-pi refuses [7] only")
	if _, err := prepare(t, w, "cabin-box"); err == nil || !strings.Contains(err.Error(), "(number 12) has joined since") || !strings.Contains(err.Error(), "--again") {
		t.Error(err)
	}
	w.does(t, Options{Again: true}, "", "vps refuses [7 12]", "home-pi refuses [7 12]", "delete 12")
}

// TestANumberThatIsGivenAgain: a new Headscale gave the new machine the old one's number.
func TestANumberThatIsGivenAgain(t *testing.T) {
	w := stolen()
	w.does(t, Options{}, "", "vps refuses [7]", "home-pi refuses [7]", "delete 7")
	w.replaced()
	w.nodes[len(w.nodes)-1].ID = "7"
	if _, err := prepare(t, w, "cabin-box"); err == nil || !strings.Contains(err.Error(), "(number 7) has joined since") {
		t.Error(err)
	}
}

// TestHeadscaleIsSilent: the holders are told all the same, and the rest is left. A member
// that joined after the first call is recognised by its time.
func TestHeadscaleIsSilent(t *testing.T) {
	w := stolen()
	w.away, w.silent = []string{"home-pi"}, errors.New("headscale: connection refused")
	o, err := prepare(t, w, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	if s := o.Steps(); len(s) != 2 || !strings.Contains(s[1], "leave its unused keys, tailnet and cluster for another time") {
		t.Errorf("%q", s)
	}
	w.does(t, Options{}, "its keys that were not used, tailnet and cluster: headscale: connection refused", "vps refuses []")
	w.away = nil
	w.does(t, Options{}, "if no new one is called cabin-box yet, say --again") // which of the two would home-pi refuse?
	w.does(t, Options{Again: true}, "connection refused", "vps refuses []", "home-pi refuses []")
	w.silent = nil
	w.replaced()
	w.does(t, Options{}, "", "delete 7")
	if len(w.nodes) != 2 || w.nodes[1].ID != "12" {
		t.Errorf("%+v", w.nodes)
	}
	w = stolen()
	w.away = []string{"home-pi"}
	w.does(t, Options{}, "home-pi", "vps refuses [7]", "delete 7")
	w.away, w.silent = nil, errors.New("silent")
	w.does(t, Options{}, "silent", "home-pi refuses [7] only")
}

// TestNobodyKnowsTheNumber: holders must not be told the new machine's number.
func TestNobodyKnowsTheNumber(t *testing.T) {
	w := stolen()
	w.away, w.silent = []string{"home-pi"}, errors.New("silent")
	w.does(t, Options{}, "silent", "vps refuses []")
	w.away, w.silent, w.nodes = nil, nil, w.nodes[1:] // somebody deleted it by hand
	w.replaced()
	w.does(t, Options{}, "On home-pi say 'firstboot revoke --only cabin-box NUMBER'")
	o, err := w.prepare(t, "cabin-box", Options{})
	if s := o.Steps(); err != nil || len(s) != 1 || !strings.Contains(s[0], "leave the cabin-box of today alone") {
		t.Errorf("%q, %v", s, err)
	}
}

// TestNotNoted: if the note cannot be written at home, the rest is done, and the error says
// so.
func TestNotNoted(t *testing.T) {
	w := stolen()
	w.dir = t.TempDir()
	dir := filepath.Join(w.dir, fleet.SecretsDir)
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink("nowhere/at/all", filepath.Join(dir, "revoked"))); err != nil {
		t.Fatal(err)
	}
	w.does(t, Options{}, "only before a new machine is called cabin-box", "vps refuses [7]", "home-pi refuses [7]", "delete 7")
	w.dir = t.TempDir()
	file := filepath.Join(w.dir, fleet.SecretsDir, "revoked", "cabin-box.json")
	for text, want := range map[string]string{"{": "remove it if no new machine", `{"version": 2}`: "is of version 2"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := prepare(t, w, "cabin-box"); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
}

// TestWhoIsNotEncrypted: such a node has no shares, and the owner has more to change.
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

// TestWhoKeptShares: a holder's shares of other nodes' keys are in the thief's hands, unless
// its disk is encrypted and locked.
func TestWhoKeptShares(t *testing.T) {
	const kept = "the second share of the keys of cabin-pi, cabin-box, which it kept"
	for name, want := range map[string]string{"true": kept + ", if it was taken while it ran", "false": kept + ": "} {
		o, err := prepare(t, stolen(), "home-pi", "  home-pi: {", "  home-pi: {storage: {encrypt: "+name+"}, ")
		if err != nil {
			t.Fatal(err)
		}
		if a := strings.Join(o.Advice(), "\n"); !strings.Contains(a, want) || !strings.Contains(a, "imagebuilder replace") {
			t.Errorf("encrypted %s: %s", name, a)
		}
	}
	o, err := prepare(t, stolen(), "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	if a := strings.Join(o.Advice(), "\n"); strings.Contains(a, "second share") {
		t.Errorf("an agent keeps none: %s", a)
	}
}

// TestRefusals: nothing is done if it would be wrong.
func TestRefusals(t *testing.T) {
	w := stolen()
	if _, err := prepare(t, w, "vps"); err == nil || !strings.Contains(err.Error(), "runs Headscale") {
		t.Error(err)
	}
	if _, err := prepare(t, w, "cabin-bix"); err == nil || !strings.Contains(err.Error(), "did you mean") {
		t.Error(err)
	}
	if len(w.done) > 0 {
		t.Errorf("%q", w.done)
	}
}

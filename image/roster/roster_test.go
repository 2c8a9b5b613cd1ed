package roster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// server answers as a Headscale does.
type server struct {
	nodes []headscale.Node
	keys  []headscale.Key
	err   error
}

func (s server) Nodes(context.Context) ([]headscale.Node, error)   { return s.nodes, s.err }
func (s server) ListKeys(context.Context) ([]headscale.Key, error) { return s.keys, s.err }

// soon and past are expiry times of keys.
var soon, past = noon.Add(time.Hour), noon.Add(-time.Hour)

// load is the example, with keys 1, 2, … made for its nodes in their order: good until soon,
// but for the fourth.
func load(t *testing.T) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for i, name := range f.Nodes.Names {
		expires := soon
		if i == 3 {
			expires = past
		}
		made = append(made, fmt.Sprintf(`"%s":[{"id":"%d","minted":"2026-11-25T07:00:00Z","expires":%q}]`, name, i+1, expires.Format(time.RFC3339)))
	}
	dir := filepath.Join(f.Dir(), fleet.SecretsDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(`{"version":1,"nodes":{`+strings.Join(made, ",")+"}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestStates: each node has the state that its key and its membership show, whatever else
// has its name.
func TestStates(t *testing.T) {
	f := load(t)
	ip := netip.MustParseAddr("100.64.0.7")
	tags := []string{"tag:k3s-server", "tag:site-home"}
	s := server{
		nodes: []headscale.Node{
			{Name: "home-pi", GivenName: "home-pi", Tags: []string{}, KeyID: "99"}, // a laptop
			{Name: "home-pi", GivenName: "home-pi-1", Tags: tags, KeyID: "1", ID: "8", Created: noon.Add(-time.Hour), Online: true, LastSeen: noon, Addresses: []netip.Addr{netip.MustParseAddr("fd7a::7"), ip}},
			{Name: "home-box", GivenName: "home-box", Tags: []string{"tag:k3s-agent"}, KeyID: "3", ID: "9"},
		},
		keys: []headscale.Key{
			{ID: "1", Used: true, Expiration: soon}, {ID: "2", Expiration: soon}, {ID: "3", Used: true, Expiration: soon}, {ID: "4", Expiration: past},
		},
	}
	rows, err := Read(context.Background(), f, s, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{
		{Node: "home-pi", Site: "home", Role: "server", State: Online, Number: "8", Joined: noon.Add(-time.Hour), Address: ip, LastSeen: noon, Notes: []string{"Headscale calls it home-pi-1: another home-pi is in the way"}},
		{Node: "cabin-pi", Site: "cabin", Role: "server", State: Waiting, Expires: soon, New: true},
		{Node: "home-box", Site: "home", Role: "agent", State: Offline, Number: "9", Notes: []string{"it lacks tag:site-home: it has those of the key that it joined with; after a move: headscale nodes tag -i 9 -t tag:k3s-agent,tag:site-home"}},
		{Node: "cabin-box", Site: "cabin", Role: "agent", State: Expired, Expires: past, ExpiredUnused: 1, New: true},
		{Node: "vps", Site: "cloud", Role: "witness", State: noKey, Notes: []string{"Headscale does not know its key: its database is from before, or the member was deleted; imagebuilder key vps makes another"}},
	}
	if d := cmp.Diff(want, rows, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if s := rows[0].Subject(); s != (inquiry.Subject{Node: "home-pi", Number: "8", Joined: noon.Add(-time.Hour), Address: ip}) {
		t.Errorf("%+v", s)
	}
}

// TestStranger: a device that only has a node's name is asked nothing, and gets nothing. A
// node that moved to another site has the old site's tags; a node whose key is missing in
// the book has its own tags.
func TestStranger(t *testing.T) {
	at := func(last byte) []netip.Addr { return []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, last})} }
	s := server{nodes: []headscale.Node{
		{Name: "home-pi", GivenName: "home-pi", Tags: []string{"tag:site-home"}, KeyID: "99", ID: "1", Online: true, Addresses: at(1)}, // a laptop
		{Name: "cabin-pi", GivenName: "cabin-pi", Tags: []string{"tag:k3s-server", "tag:site-home"}, KeyID: "2", ID: "2", Online: true, Addresses: at(2)},
		{Name: "home-box", GivenName: "home-box", Tags: []string{"tag:k3s-agent", "tag:site-home"}, KeyID: "98", ID: "3", Online: true, Addresses: at(3)},
	}}
	rows, err := Read(t.Context(), load(t), s, noon)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"home-pi": "did not join with a key of this fleet", "cabin-pi": "", "home-box": "", "vps": "has no address"} {
		s, err := SubjectOf(rows, name)
		if got := fmt.Sprint(err); (err == nil) != (want == "") || err != nil && !strings.Contains(got, want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if s.Address.IsValid() != (want == "") || There(rows, name) != (want == "") {
			t.Errorf("%s is there: %v, at %+v", name, There(rows, name), s)
		}
	}
	for i, want := range []string{"it lacks tag:k3s-server: it did not join with a key of this fleet", "headscale nodes tag -i 2 -t tag:k3s-server,tag:site-cabin", ""} {
		if got := strings.Join(rows[i].Notes, "; "); !strings.HasSuffix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", rows[i].Node, got, want)
		}
	}
	who, subjects := present(rows)
	if fmt.Sprint(who) != "[1 2]" || len(subjects) != 2 {
		t.Errorf("%v are asked: %v", who, subjects)
	}
}

// TestAMoverWithoutABook: a node that was moved, and whose key this copy of the book lacks,
// stays a stranger; the note tells how its owner vouches for it.
func TestAMoverWithoutABook(t *testing.T) {
	s := server{nodes: []headscale.Node{{Name: "home-box", GivenName: "home-box", Tags: []string{"tag:k3s-agent", "tag:site-cabin"}, KeyID: "98", ID: "3", Online: true}}}
	rows, err := Read(t.Context(), load(t), s, noon)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rows[2].Notes); !rows[2].Stranger || !strings.Contains(got, "if it is yours, and was moved: headscale nodes tag -i 3 -t tag:k3s-agent,tag:site-home") {
		t.Errorf("%+v", rows[2])
	}
}

// TestTwoOfOneNode: where two members joined with keys of one node, the one that is online
// is the node, or else the later one, and the note names the other.
func TestTwoOfOneNode(t *testing.T) {
	at := []netip.Addr{netip.MustParseAddr("100.64.0.7")}
	dead := headscale.Node{Name: "home-pi", GivenName: "home-pi", Tags: []string{"tag:k3s-server", "tag:site-home"}, KeyID: "1", ID: "5", Created: past, Addresses: at}
	young := dead
	young.GivenName, young.ID, young.Created = "home-pi-1", "8", noon
	alive, elder := young, dead
	alive.Online, elder.Online = true, true
	for _, c := range []struct {
		members []headscale.Node
		number  headscale.ID
		note    string
	}{
		{[]headscale.Node{dead, alive}, "8", "number 5 (home-pi), offline, joined as home-pi, too: if it is the former one, switch it off for good, and delete it (headscale nodes delete -i 5)"},
		{[]headscale.Node{elder, young}, "5", "number 8 (home-pi-1), offline, joined as home-pi, too"},
		{[]headscale.Node{dead, young}, "8", "number 5 (home-pi), offline"},
		{[]headscale.Node{alive, elder}, "8", "number 5 (home-pi), online"},
	} {
		rows, err := Read(t.Context(), load(t), server{nodes: c.members}, noon)
		if r := rows[0]; err != nil || r.Number != c.number || (r.State == Online) != (c.members[0].Online || c.members[1].Online) || !strings.Contains(strings.Join(r.Notes, "; "), c.note) {
			t.Errorf("%+v, %v, want number %s and %q", r, err, c.number, c.note)
		}
	}
}

// TestAKeyBesideAMember: that a key waits for a node which is a member already is told.
func TestAKeyBesideAMember(t *testing.T) {
	f := load(t)
	book := `{"version":1,"nodes":{"home-pi":[{"id":"1","expires":"2026-11-25T11:00:00Z"},{"id":"6","expires":"2026-11-25T13:00:00Z"}]}}`
	if err := os.WriteFile(filepath.Join(f.Dir(), fleet.SecretsDir, "keys.json"), []byte(book), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server{
		nodes: []headscale.Node{{Name: "home-pi", GivenName: "home-pi", Tags: []string{"tag:k3s-server", "tag:site-home"}, KeyID: "1", ID: "5"}},
		keys:  []headscale.Key{{ID: "1", Used: true, Expiration: past}, {ID: "6", Expiration: soon}},
	}
	rows, err := Read(t.Context(), f, s, noon)
	want := "[an unused key of home-pi is good until " + soon.Local().Format("2006-01-02 15:04") + "]"
	if r := rows[0]; err != nil || r.State != Offline || fmt.Sprint(r.Notes) != want {
		t.Errorf("%+v, %v, want %s", r, err, want)
	}
}

// TestFormer: a member with a key of the fleet, whose node is not in the file any more, is
// shown. Others' devices are not.
func TestFormer(t *testing.T) {
	f := load(t)
	book := `{"version":1,"nodes":{"hut-pi":[{"id":"7"}],"shed-pi":[{"id":"8"}],"home-pi":[{"id":"1"}]}}`
	if err := os.WriteFile(filepath.Join(f.Dir(), fleet.SecretsDir, "keys.json"), []byte(book), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server{nodes: []headscale.Node{
		{Name: "home-pi", GivenName: "home-pi", KeyID: "1"},
		{Name: "hut-pi", GivenName: "hut-pi", KeyID: "7", ID: "4", Created: past, LastSeen: noon},
		{Name: "shed-pi", GivenName: "shed-pi", KeyID: "99"},
		{Name: "laptop", GivenName: "laptop"},
	}}
	rows, err := Former(t.Context(), f, s)
	want := []Row{{Node: "hut-pi", State: Offline, Number: "4", Joined: past, LastSeen: noon, Notes: []string{
		"it is a member, but not in fleet.yaml: put its line back, and then: imagebuilder revoke hut-pi"}}}
	if d := cmp.Diff(want, rows, cmpopts.EquateComparable(netip.Addr{})); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := Former(t.Context(), f, server{err: errors.New("refused")}); err == nil {
		t.Error("no error")
	}
}

// TestUsedAndGone: a key that was used although no member joined, which a power cut at the
// wrong moment can cause.
func TestUsedAndGone(t *testing.T) {
	rows, err := Read(context.Background(), load(t), server{keys: []headscale.Key{{ID: "1", Used: true, Expiration: soon}}}, noon)
	if err != nil || rows[0].State != noKey || len(rows[0].Notes) != 1 {
		t.Errorf("%+v, %v", rows[0], err)
	}
}

// TestAnotherHeadscalesNumbers: a new Headscale counts from 1 again, for other nodes. A key
// that was expired early is still recognised as its node's.
func TestAnotherHeadscalesNumbers(t *testing.T) {
	rows, err := Read(t.Context(), load(t), server{keys: []headscale.Key{
		{ID: "1", Expiration: soon.AddDate(0, 0, 3), CreatedAt: noon},
		{ID: "2", Expiration: noon.Add(-time.Minute), CreatedAt: noon.Add(-5*time.Hour + time.Minute)},
		{ID: "3", Expiration: noon.Add(-time.Minute), CreatedAt: noon.Add(-2 * time.Hour)},
	}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []State{noKey, Expired, noKey} {
		if r := rows[i]; r.State != want || r.ExpiredUnused != i%2 {
			t.Errorf("%+v, want %s", r, want)
		}
	}
}

// TestAFormerKeyIsGood: if the last card failed, the card with the previous key may be in
// the post.
func TestAFormerKeyIsGood(t *testing.T) {
	f := load(t)
	book := `{"version":1,"nodes":{"home-pi":[{"id":"1","expires":"2026-11-25T13:00:00Z"},{"id":"2","expires":"2026-11-25T11:59:00Z"}]}}`
	if err := os.WriteFile(filepath.Join(f.Dir(), fleet.SecretsDir, "keys.json"), []byte(book), 0o600); err != nil {
		t.Fatal(err)
	}
	rows, err := Read(t.Context(), f, server{keys: []headscale.Key{{ID: "1", Expiration: noon.Add(time.Hour)}, {ID: "2", Expiration: noon.Add(-time.Minute)}}}, noon)
	if err != nil || rows[0].State != Waiting || !rows[0].Expires.Equal(noon.Add(time.Hour)) || rows[0].ExpiredUnused != 1 {
		t.Errorf("%+v, %v", rows[0], err)
	}
}

func TestServerDown(t *testing.T) {
	if _, err := Read(context.Background(), load(t), server{err: errors.New("refused")}, noon); err == nil {
		t.Error("no error")
	}
}

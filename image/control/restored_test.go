//go:build linux

package control

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// TestARestoredDatabaseForgets: members that were revoked, and keys that were expired, are
// valid again in a restored database, and gone after Init. A later machine to which a new
// Headscale gave the same number stays, and so does the key of a card in the post.
func TestARestoredDatabaseForgets(t *testing.T) {
	v := newVPS(t)
	v.hs.Register("home-pi")
	v.hs.Register("laptop")
	var keys []headscale.Key
	book := ""
	for i, minted := range []time.Time{time.Now(), time.Now(), time.Now().Add(-time.Hour)} {
		k := v.hs.Key("tag:site-home", time.Duration(i+1)*time.Hour)
		keys = append(keys, k)
		book += fmt.Sprintf(`{"id":%q,"minted":%q,"expires":%q},`, k.ID, minted.Format(time.RFC3339Nano), k.Expiration.Format(time.RFC3339Nano))
		if i == 1 {
			book = `{"version":1,"nodes":{"cabin-pi":[` + book[:len(book)-1] + `],"home-pi":[`
		}
	}
	v.write("secrets/keys.json", book[:len(book)-1]+"]}}")

	note := `{"version":1,"at":%q,"numbers":["1","2"],"listed":true}`
	v.write("secrets/revoked/home-pi.json", fmt.Sprintf(note, time.Now().AddDate(0, 0, -1).Format(time.RFC3339)))
	v.remains(2, keys[1].ID, keys[2].ID)
	v.write("secrets/revoked/home-pi.json", fmt.Sprintf(note, time.Now().Add(time.Second).Format(time.RFC3339)))
	v.remains(1, keys[1].ID)
	v.remains(1, keys[1].ID)

	const later = `{"id":"99","minted":%q,"expires":%q}`
	now := time.Now()
	v.write("secrets/keys.json", `{"version":1,"nodes":{"home-pi":[`+fmt.Sprintf(later, now.Format(time.RFC3339Nano), now.Add(time.Hour).Format(time.RFC3339Nano))+`]}}`)
	if d, err := v.init(); err != nil || !slices.Equal(d.Forgotten, []string{"home-pi"}) {
		t.Errorf("a card of after the copy: %+v, %v", d, err)
	}
	v.hs.Register("home-pi")
	if d, err := v.init(); err != nil || len(d.Forgotten) > 0 {
		t.Errorf("a member: %+v, %v", d, err)
	}
}

// remains runs Init, and checks the number of members, and which of the keys that were made
// before it are left.
func (v *machine) remains(members int, keys ...headscale.ID) {
	v.t.Helper()
	if _, err := v.init(); err != nil {
		v.t.Fatal(err)
	}
	ctx := context.Background()
	nodes, err := v.hs.Client.Nodes(ctx)
	if err != nil || len(nodes) != members || members == 1 && nodes[0].GivenName != "laptop" {
		v.t.Errorf("members are %+v, %v", nodes, err)
	}
	f, err := fleet.LoadFile(v.dir+"/fleet.yaml", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	own, err := mint.Keys(f)
	if err != nil {
		v.t.Fatal(err)
	}
	all, err := v.hs.Client.ListKeys(ctx)
	if err != nil {
		v.t.Fatal(err)
	}
	var good []headscale.ID
	for _, k := range all {
		if k.Expiration.After(time.Now()) && !mint.IsOf(own["vps"], k) {
			good = append(good, k.ID)
		}
	}
	if !slices.Equal(good, keys) {
		v.t.Errorf("good are %v, want %v", good, keys)
	}
}

// TestTheMachineAfter: a restored database lists the previous machine, which must make way
// for the present one. A stranger with its name is neither of them.
func TestTheMachineAfter(t *testing.T) {
	v := newVPS(t)
	if _, err := v.init(); err != nil {
		t.Fatal(err)
	}
	v.hs.Register("vps")
	v.fails("a stranger", "is none of this fleet is called vps", "tag:k3s-witness", "headscale nodes delete")
	if list, err := v.hs.Client.Nodes(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("a stranger is gone: %v, %v", list, err)
	}
	v.hs.Tag("vps", "tag:k3s-witness", "tag:site-cloud")
	for _, code := range []string{"control-away", "acme-unproved"} {
		v.key, v.problem = "", code
		v.fails(code, "vps is not in its tailnet", "words of "+code+". Do it.", "do this again")
		if list, err := v.hs.Client.Nodes(t.Context()); err != nil || len(list) != 1 || v.key != "" {
			t.Errorf("%s: %v, %v, a key of %d characters", code, list, err, len(v.key))
		}
	}
	for _, c := range []struct {
		problem string
		member  bool
	}{{"tailscaled", true}, {"control-waits", false}} {
		v.key, v.problem = "", c.problem
		d, err := v.init()
		if err != nil || d.Member != c.member || (v.key == "") != c.member {
			t.Errorf("%s: %+v, %v, a key of %d characters", c.problem, d, err, len(v.key))
		}
		list, err := v.hs.Client.Nodes(t.Context())
		if err != nil || (len(list) == 1) != c.member {
			t.Errorf("%s: the server has %d nodes, %v", c.problem, len(list), err)
		}
	}
}

// Package roster says of every node of a fleet where it is on its way: from a
// key that was made for it to a member of the tailnet.
//
// It asks Headscale and the mint's book and, where it is told to, the nodes
// themselves. It changes nothing there; at home the nodes' host keys are
// remembered the first time they are asked.
package roster

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// State is where a node is, in one word.
type State string

// The states, in their order.
const (
	NoKey   State = "no-key"  // nothing was made for it
	Waiting State = "waiting" // its key is good and unused: in the post, or not switched on
	Expired State = "expired" // its key expired before it was used
	Online  State = "online"  // a member, and there
	Offline State = "offline" // a member, and away
)

// Row is one node.
type Row struct {
	Node  string    `json:"node"`
	Site  string    `json:"site"`
	Role  node.Role `json:"role"`
	State State     `json:"state"`
	// Expires is when an unused key does.
	Expires time.Time `json:"expires,omitzero"`
	// ExpiredUnused counts keys that were made for it and used by nobody.
	ExpiredUnused int `json:"expiredUnused,omitempty"`
	// Number is Headscale's, of the member.
	Number headscale.ID `json:"number,omitempty"`
	// Joined is since when it is a member.
	Joined time.Time `json:"joined,omitzero"`
	// Address is the node's in the tailnet, IPv4 where it has one.
	Address  netip.Addr `json:"address,omitzero"`
	LastSeen time.Time  `json:"lastSeen,omitzero"`
	// Stranger says that the member bears the node's name, and nothing else of it: it
	// did not join with a key of this fleet. Nobody asks it, or gives it anything.
	Stranger bool `json:"stranger,omitempty"`
	// New says that it has yet to become a member: no key was made for it, or nobody has
	// used the last one.
	New bool `json:"-"`
	// Notes are what is wrong, in words.
	Notes []string `json:"notes,omitempty"`
	// Says is what the node says of itself, nil where it was not asked.
	Says *inquiry.Answer `json:"says,omitempty"`
	// Doctor is what it found when it examined itself, nil where it was not asked to.
	Doctor *inquiry.Examination `json:"doctor,omitempty"`
}

// Server is what is asked of Headscale.
type Server interface {
	Nodes(context.Context) ([]headscale.Node, error)
	ListKeys(context.Context) ([]headscale.Key, error)
}

// Read returns the nodes in the order of the fleet's file.
func Read(ctx context.Context, f *fleet.Fleet, server Server, now time.Time) ([]Row, error) {
	made, err := mint.Keys(f)
	if err != nil {
		return nil, err
	}
	members, err := server.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := server.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, name := range f.Nodes.Names {
		n, _ := f.Nodes.Get(name)
		r := Row{Node: name, Site: n.Site, Role: n.Role.In(), State: NoKey}
		r.key(made[name], keys, now)
		r.member(n, made[name], members)
		r.New = r.State == Waiting || r.State == Expired || r.State == NoKey && len(made[name]) == 0
		rows = append(rows, r)
	}
	return rows, nil
}

// key looks at the last key that was made for the node. If that is no good, as its card
// failed, one from before may be.
func (r *Row) key(made []mint.Entry, keys []headscale.Key, now time.Time) {
	if len(made) == 0 {
		return
	}
	var good time.Time
	for _, k := range keys {
		switch {
		case k.Used || !mint.IsOf(made, k):
		case !k.Expiration.After(now):
			r.ExpiredUnused++
		case k.Expiration.After(good):
			good = k.Expiration
		}
	}
	last := made[len(made)-1:]
	at := slices.IndexFunc(keys, func(k headscale.Key) bool { return mint.IsOf(last, k) })
	switch {
	case at >= 0 && keys[at].Used:
		r.Notes = append(r.Notes, "its key was used, but no member came of it")
	case !good.IsZero():
		r.State, r.Expires = Waiting, good
	case at >= 0: // 0.28 and newer delete used keys with their node
		r.State, r.Expires = Expired, keys[at].Expiration
	}
}

// member finds what became of the node: by its key, which tells it from another device
// of its name. One that moved to another site bears the tags of its key still; of one
// whose key the book does not have, as it was lost, the tags tell.
func (r *Row) member(n fleet.Node, made []mint.Entry, members []headscale.Node) {
	at := slices.IndexFunc(members, func(m headscale.Node) bool { return mint.Joined(made, r.Node, m) })
	ours := at >= 0
	if !ours {
		at = slices.IndexFunc(members, func(m headscale.Node) bool { return m.GivenName == r.Node })
	}
	if at < 0 {
		return
	}
	m := members[at]
	r.State, r.Notes, r.Expires = Offline, nil, time.Time{}
	r.Number, r.Joined, r.LastSeen, r.Address = m.ID, m.Created, m.LastSeen, address(m)
	if m.Online {
		r.State = Online
	}
	if m.GivenName != r.Node {
		r.Notes = append(r.Notes, "Headscale calls it "+m.GivenName+": another "+r.Node+" is in the way")
	}
	for _, tag := range n.Tags() {
		switch {
		case slices.Contains(m.Tags, tag):
		case ours:
			r.Notes = append(r.Notes, "it lacks "+tag+": it has those of the key that it joined with")
		default:
			r.Stranger = true
			r.Notes = append(r.Notes, "it lacks "+tag+": it did not join with a key of this fleet")
		}
	}
}

// Ask lets those that are there speak for themselves, all at once.
func Ask(ctx context.Context, f *fleet.Fleet, rows []Row) {
	who, subjects := present(rows)
	for i, said := range inquiry.Ask(ctx, f, subjects) {
		rows[who[i]].Says = &said
	}
}

// Examine lets them examine themselves.
func Examine(ctx context.Context, f *fleet.Fleet, rows []Row) {
	who, subjects := present(rows)
	for i, found := range inquiry.Examine(ctx, f, subjects) {
		rows[who[i]].Doctor = &found
	}
}

// present are those that can be asked, and which rows theirs are.
func present(rows []Row) (who []int, subjects []inquiry.Subject) {
	for i, r := range rows {
		if r.there() {
			who, subjects = append(who, i), append(subjects, r.Subject())
		}
	}
	return who, subjects
}

func address(m headscale.Node) netip.Addr {
	for _, a := range m.Addresses {
		if a.Is4() {
			return a
		}
	}
	if len(m.Addresses) > 0 {
		return m.Addresses[0]
	}
	return netip.Addr{}
}

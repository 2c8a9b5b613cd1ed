// Package roster tells the state of every node of a fleet, from "no key made" to "member of
// the tailnet".
//
// It reads Headscale and the mint's book and, on request, asks the nodes themselves. It
// changes nothing there; at home, a node's host key is recorded when the node is first
// asked.
package roster

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// State is the state of a node, in one word.
type State string

// The states, in their order.
const (
	noKey   State = "no-key"  // no key was made for it
	Waiting State = "waiting" // its key is valid and unused: its card is in the post, or was not started yet
	Expired State = "expired" // its key expired before it was used
	Online  State = "online"  // a member, and connected
	Offline State = "offline" // a member, but not connected
)

// Row is one node.
type Row struct {
	Node  string    `json:"node"`
	Site  string    `json:"site"`
	Role  node.Role `json:"role"`
	State State     `json:"state"`
	// Expires is when an unused key expires or expired.
	Expires time.Time `json:"expires,omitzero"`
	// ExpiredUnused counts the node's keys that expired unused.
	ExpiredUnused int `json:"expiredUnused,omitempty"`
	// Number is Headscale's ID of the member.
	Number headscale.ID `json:"number,omitempty"`
	// Joined is when the member joined.
	Joined time.Time `json:"joined,omitzero"`
	// Address is the node's address in the tailnet, IPv4 if it has one.
	Address  netip.Addr `json:"address,omitzero"`
	LastSeen time.Time  `json:"lastSeen,omitzero"`
	// Stranger says that the member only has the node's name: it did not join with a key of
	// this fleet. It is not asked, and gets nothing.
	Stranger bool `json:"stranger,omitempty"`
	// Public says that the member is found by its public name, and known by its host key: it
	// needs no address in the tailnet.
	Public bool `json:"-"`
	// New says that the node has not joined yet: no key was made for it, or the last one is
	// unused.
	New bool `json:"-"`
	// Notes are what is wrong, in words.
	Notes []string `json:"notes,omitempty"`
	// Says is the node's own status, nil if it was not asked.
	Says *inquiry.Answer `json:"says,omitempty"`
	// Doctor is the result of the node's self-examination, nil if it was not asked for one.
	Doctor *inquiry.Examination `json:"doctor,omitempty"`
}

// Server is what Headscale is asked for.
type Server interface {
	Nodes(context.Context) ([]headscale.Node, error)
	ListKeys(context.Context) ([]headscale.Key, error)
}

// Read returns the nodes in the order of the fleet's file.
func Read(ctx context.Context, f *fleet.Fleet, server Server, now time.Time) ([]Row, error) {
	made, members, err := look(ctx, f, server)
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
		r := Row{Node: name, Site: n.Site, Role: n.Role.In(), State: noKey}
		r.key(made[name], keys, now)
		r.member(n, made[name], members)
		r.New = r.State == Waiting || r.State == Expired || r.State == noKey && len(made[name]) == 0
		rows = append(rows, r)
	}
	return rows, nil
}

// look returns the keys that were made for each node, and the members of the tailnet.
func look(ctx context.Context, f *fleet.Fleet, server Server) (made map[string][]mint.Entry, members []headscale.Node, err error) {
	if made, err = mint.Keys(f); err != nil {
		return nil, nil, err
	}
	members, err = server.Nodes(ctx)
	return made, members, err
}

// key looks at the last key that was made for the node. If that one is not valid, as its
// card failed, an earlier one may be.
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
	if mint.Forgotten(made, keys, now) {
		r.Notes = append(r.Notes, "Headscale does not know its key: its database is from before, or the member was deleted; imagebuilder key "+r.Node+" makes another")
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

// member finds the node's member: by its key, which distinguishes it from another device
// with its name. A node that moved to another site still has the tags of its key. If the
// book with the key was lost, the tags decide.
func (r *Row) member(n fleet.Node, made []mint.Entry, members []headscale.Node) {
	joined := joined(made, r.Node, members)
	ours := len(joined) > 0
	if !ours {
		at := slices.IndexFunc(members, func(m headscale.Node) bool { return m.GivenName == r.Node })
		if at < 0 {
			return
		}
		joined = members[at : at+1]
	}
	m := joined[0]
	r.Notes = nil
	if r.State == Waiting {
		r.Notes = append(r.Notes, "an unused key of "+r.Node+" is good until "+r.Expires.Local().Format("2006-01-02 15:04"))
	}
	r.State, r.Expires = connection(m), time.Time{}
	r.Number, r.Joined, r.LastSeen, r.Address = m.ID, m.Created, m.LastSeen, address(m)
	if m.GivenName != r.Node {
		r.Notes = append(r.Notes, "Headscale calls it "+m.GivenName+": another "+r.Node+" is in the way")
	}
	for _, other := range joined[1:] {
		r.Notes = append(r.Notes, fmt.Sprintf("number %s (%s), %s, joined as %s, too: if it is the former one, switch it off for good, and delete it (headscale nodes delete -i %s)",
			other.ID, other.GivenName, connection(other), r.Node, other.ID))
	}
	for _, tag := range n.Tags() {
		switch {
		case slices.Contains(m.Tags, tag):
		case ours:
			r.Notes = append(r.Notes, "it lacks "+tag+": it has those of the key that it joined with"+retagged(tag, m, n))
		default:
			r.Stranger = true
			r.Notes = append(r.Notes, "it lacks "+tag+": it did not join with a key of this fleet"+moved(m, n))
		}
	}
}

// joined returns the members that joined with the node's keys. There are several if its card
// was made anew and the former member was not deleted. The first is the one that is online,
// or else the latest.
func joined(made []mint.Entry, name string, members []headscale.Node) (out []headscale.Node) {
	for _, m := range members {
		if mint.Joined(made, name, m) {
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b headscale.Node) int {
		if a.Online != b.Online {
			return map[bool]int{true: -1, false: 1}[a.Online]
		}
		return b.Created.Compare(a.Created)
	})
	return out
}

// retag is the command that gives a member the node's tags.
func retag(m headscale.Node, n fleet.Node) string {
	return fmt.Sprintf("headscale nodes tag -i %s -t %s", m.ID, strings.Join(n.Tags(), ","))
}

// retagged is what to do with a member that has another site's tag.
func retagged(lacks string, m headscale.Node, n fleet.Node) string {
	if lacks != fleet.SiteTag(n.Site) {
		return ""
	}
	return "; after a move: " + retag(m, n)
}

// moved is what to do with a stranger that has the tag of the node's role: it may be the
// node itself, from another site, with a key that this copy of the book lacks.
func moved(m headscale.Node, n fleet.Node) string {
	if !slices.Contains(m.Tags, fleet.RoleTag(n.Role.In())) {
		return ""
	}
	return " that this copy of secrets/ knows; if it is yours, and was moved: " + retag(m, n)
}

func connection(m headscale.Node) State {
	if m.Online {
		return Online
	}
	return Offline
}

// Ask asks the nodes that are there for their status, all at once.
func Ask(ctx context.Context, f *fleet.Fleet, rows []Row) {
	who, subjects := present(rows)
	for i, said := range inquiry.Ask(ctx, f, subjects) {
		rows[who[i]].Says = &said
	}
}

// Examine has the nodes that are there examine themselves.
func Examine(ctx context.Context, f *fleet.Fleet, rows []Row) {
	who, subjects := present(rows)
	for i, found := range inquiry.Examine(ctx, f, subjects) {
		rows[who[i]].Doctor = &found
	}
}

// present are the nodes that can be asked (subjects), and the indexes of their rows (who).
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

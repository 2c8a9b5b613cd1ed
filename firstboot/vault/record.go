package vault

import (
	"crypto/subtle"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// Member is a node as the tailnet identifies it, which does not depend on what the node says of
// itself.
type Member struct {
	Node string // its name in the tailnet
	ID   string // stable, but new after the node has joined anew
}

// Deposit delivers the second share of a node's key. Delivered again, it shows that the node still
// has the share, which it has only while its data is open.
type Deposit struct {
	Share secret.String
	Proof string // the Digest of the disk's proof
}

// Question asks a holder for a share.
type Question struct {
	ID    string // the Digest of the share
	Proof secret.String
}

// Record is what a holder knows about one node.
type Record struct {
	Shares []Kept `yaml:"shares,omitempty"`
	// Asking is the question that waits for the owner's word; Approved is the one that the owner
	// has agreed to.
	Asking   *Asking `yaml:"asking,omitempty"`
	Approved *Asking `yaml:"approved,omitempty"`
	// Revoked are IDs of members and digests of shares. They are refused for ever.
	Revoked []string `yaml:"revoked,omitempty"`
}

// Kept is a share, and what must be true of the node that gets it.
type Kept struct {
	ID     string        `yaml:"id"`
	Share  secret.String `yaml:"share"`
	Proof  string        `yaml:"proof"`
	Member string        `yaml:"member"`
	// Sure says that its node has shown that it uses this share.
	Sure bool `yaml:"sure,omitempty"`
	// Places are where the node was while its data was open, the latest last.
	Places []netip.Prefix `yaml:"places,omitempty"`
}

// onWord is the prefix of a spare's proof. It is not a field, because a holder that fell back to an
// older image could not read its book then. An older image compares the proof with a digest, which
// never has this prefix, so it gives the spare to nobody.
const onWord = "word:"

// OnWord returns the proof of a spare: a share that is given only on the owner's word, each time
// anew, wherever the node is.
func OnWord(proof string) string { return onWord + proof }

// Asking is a question that waits for the owner's word.
type Asking struct {
	ID     string       `yaml:"id" json:"-"`
	Member string       `yaml:"member" json:"member"`
	Place  netip.Prefix `yaml:"place" json:"place,omitzero"` // yaml considers every netip.Prefix empty, so no omitempty
	Why    Why          `yaml:"why" json:"why"`
	// Since is when the question was first asked; in Approved, when the owner agreed.
	Since time.Time `yaml:"since" json:"since"`
}

func (a *Asking) same(b *Asking) bool {
	return a != nil && a.ID == b.ID && a.Member == b.Member && a.Place == b.Place
}

// Why is a reason for a refusal.
type Why string

// The reasons. The owner's agreement overcomes the first four.
const (
	Sealed  Why = "sealed"  // it is a spare, and the owner has not agreed
	Place   Why = "place"   // the node is at a place where it never was
	Relayed Why = "relayed" // the node is reached only through a relay, so its place is not known
	Joined  Why = "joined"  // the node has joined the tailnet anew
	Revoked Why = "revoked" // refused for ever
	Unknown Why = "unknown" // there is no such share, or the proof is of another disk
	Full    Why = "full"    // the node has too many shares
)

// Refusal is the error of a holder that does not give a share, or does not take one.
type Refusal struct {
	Why   Why
	Place netip.Prefix // the place of the node that asks, as the holder sees it
}

func (r *Refusal) Error() string { return reasons[r.Why] }

var reasons = map[Why]string{
	Sealed: "the owner must agree first",
	Place:  "the owner must agree to this place first", Relayed: "it cannot see where this node is", Joined: "this node has joined anew, so the owner must agree first",
	Revoked: "this node is revoked", Unknown: "it does not know this share", Full: "it keeps too many shares of machines of this name ('firstboot revoke --only NAME NUMBER' there removes those of one that is gone)",
}

// Whys returns all reasons.
func Whys() []Why { return slices.Sorted(maps.Keys(reasons)) }

// Waits reports whether the owner's agreement would help.
func (r *Refusal) Waits() bool {
	return r.Why == Sealed || r.Why == Place || r.Why == Relayed || r.Why == Joined
}

// ErrNobody is for an owner who agrees although nobody has asked.
var ErrNobody = errors.New("it has not asked")

// Bounds of a record.
const (
	mostShares = 16 // for a card that is written anew again and again; each node has two shares with a TPM
	mostPlaces = 16 // for a line whose address changes every day
)

// approval is how long the owner's agreement is valid: a waiting node asks twice a minute.
const approval = time.Hour

// PlaceOf returns the part of an address that tells one line from another: IPv6 hosts change the
// rest by themselves (RFC 8981). It is the zero Prefix for an invalid address.
func PlaceOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Deposit takes a share, and the address at which its node was seen. If the record has the share
// already, that address becomes a place of the node's: whoever shows the share has the data open.
// changed reports whether the record was changed.
func (r *Record) Deposit(who Member, at netip.Addr, d Deposit) (changed bool, err error) {
	if _, err := bytesOf(d.Share); err != nil {
		return false, err
	}
	id := Digest(d.Share)
	if r.revoked(who.ID) || r.revoked(id) {
		return false, &Refusal{Why: Revoked}
	}
	k := r.kept(id)
	if k == nil {
		if !r.makeRoom(who, PlaceOf(at)) {
			return false, &Refusal{Why: Full}
		}
		r.Shares = append(r.Shares, Kept{ID: id, Share: d.Share, Proof: d.Proof, Member: who.ID})
		r.kept(id).learn(PlaceOf(at))
		return true, nil
	}
	if subtle.ConstantTimeCompare([]byte(k.Proof), []byte(d.Proof)) == 0 {
		return false, &Refusal{Why: Unknown}
	}
	changed = !k.Sure || k.Member != who.ID
	k.Sure, k.Member = true, who.ID
	changed = r.settle(id, who) || changed
	return k.learn(PlaceOf(at)) || changed, nil
}

// Ask returns the share, or a *Refusal. A revoked member that proves the disk of a share which is
// not revoked may be another machine, since a tailnet that began anew reuses its IDs. It needs the
// owner's agreement each time.
func (r *Record) Ask(who Member, at netip.Addr, q Question, now time.Time) (share secret.String, changed bool, err error) {
	k := r.kept(q.ID)
	known := k != nil && subtle.ConstantTimeCompare([]byte(strings.TrimPrefix(k.Proof, onWord)), []byte(Digest(q.Proof))) == 1
	switch {
	case r.revoked(q.ID), r.revoked(who.ID) && !known:
		return "", false, &Refusal{Why: Revoked}
	case !known:
		return "", false, &Refusal{Why: Unknown}
	}
	asks := &Asking{ID: q.ID, Member: who.ID, Place: PlaceOf(at), Why: k.doubt(who, PlaceOf(at)), Since: now.UTC().Truncate(time.Second)}
	if r.revoked(who.ID) && asks.Why != Sealed {
		asks.Why = Joined
	}
	switch {
	case asks.Why == "":
		return k.Share, r.settle(q.ID, who), nil
	case k.agreed(r.Approved, asks) && now.Before(r.Approved.Since.Add(approval)):
		r.Asking, r.Approved = nil, nil
		k.Member = who.ID
		k.learn(asks.Place)
		return k.Share, true, nil
	case !r.Asking.same(asks):
		r.Asking, changed = asks, true
	}
	return "", changed, &Refusal{Why: asks.Why, Place: asks.Place}
}

// settle removes a question of who about this share that has been answered elsewhere, and the
// owner's agreement to it: an agreement is good for one question, once.
func (r *Record) settle(id string, who Member) (changed bool) {
	for _, a := range []**Asking{&r.Asking, &r.Approved} {
		if *a != nil && (*a).ID == id && (*a).Member == who.ID {
			*a, changed = nil, true
		}
	}
	return changed
}

// agreed reports whether the owner's agreement, word, covers the question asks. A node is reached
// through a relay for its first minute, and may be seen at one of its known places by now.
func (k *Kept) agreed(word, asks *Asking) bool {
	if word == nil || !slices.Contains(k.Places, asks.Place) {
		return word.same(asks)
	}
	return word.ID == asks.ID && word.Member == asks.Member
}

// doubt returns why the owner has to agree, "" if nobody needs to.
func (k *Kept) doubt(who Member, at netip.Prefix) Why {
	switch {
	case strings.HasPrefix(k.Proof, onWord):
		return Sealed
	case k.Member != who.ID:
		return Joined
	case !at.IsValid():
		return Relayed
	case !slices.Contains(k.Places, at):
		return Place
	}
	return ""
}

// errAnother is for an owner who agrees after another question has replaced the one that they were
// shown.
var errAnother = errors.New("somebody else asks by now: look again")

// Approve agrees to the question that has waited since then, once, for the place that it was asked
// from.
func (r *Record) Approve(since, now time.Time) (*Asking, error) {
	if r.Asking == nil {
		return nil, ErrNobody
	}
	if !r.Asking.Since.Equal(since) {
		return nil, errAnother
	}
	a := *r.Asking
	a.Since = now.UTC().Truncate(time.Second)
	r.Approved = &a
	return &a, nil
}

// Revoke refuses these members and all shares in the record for ever, and deletes the shares. A new
// member of that name may deposit new ones: it is another machine.
func (r *Record) Revoke(members []string) {
	r.revoke(members, func(Kept) bool { return true })
}

// RevokeOnly leaves the shares of other members: one of them has the name by now.
func (r *Record) RevokeOnly(members []string) {
	r.revoke(members, func(k Kept) bool { return slices.Contains(members, k.Member) })
}

func (r *Record) revoke(members []string, goes func(Kept) bool) {
	gone := slices.Clone(members)
	for _, k := range r.Shares {
		if goes(k) {
			gone = append(gone, k.ID, k.Member)
		}
	}
	for _, id := range gone {
		if id != "" && !r.revoked(id) {
			r.Revoked = append(r.Revoked, id)
		}
	}
	r.Shares = slices.DeleteFunc(r.Shares, goes)
	r.Asking, r.Approved = nil, nil // a member that is not revoked asks again
}

func (r *Record) revoked(id string) bool { return slices.Contains(r.Revoked, id) }

func (r *Record) kept(id string) *Kept {
	for i := range r.Shares {
		if r.Shares[i].ID == id {
			return &r.Shares[i]
		}
	}
	return nil
}

// makeRoom deletes the oldest share that no node has shown to use: a power cut during a first boot
// leaves such shares. It spares the newest one: the share to be added may belong to it, as a spare
// does. If all shares were used, it deletes the oldest share of a machine that had the name before
// and that was at the place where who is now. Whoever has the card can deposit any number of
// shares, and whoever has the tailnet can make any number of members, but neither can do so from
// that place.
func (r *Record) makeRoom(who Member, at netip.Prefix) bool {
	if len(r.Shares) < mostShares {
		return true
	}
	i := slices.IndexFunc(r.Shares, func(k Kept) bool { return !k.Sure })
	if i < 0 || i == len(r.Shares)-1 {
		i = slices.IndexFunc(r.Shares, func(k Kept) bool { return k.Member != who.ID && slices.Contains(k.Places, at) })
	}
	if i < 0 {
		return false
	}
	r.Shares = slices.Delete(r.Shares, i, i+1)
	return true
}

// learn records a place as the latest one.
func (k *Kept) learn(p netip.Prefix) (changed bool) {
	if !p.IsValid() || len(k.Places) > 0 && k.Places[len(k.Places)-1] == p {
		return false
	}
	k.Places = append(slices.DeleteFunc(k.Places, func(q netip.Prefix) bool { return q == p }), p)
	k.Places = k.Places[max(0, len(k.Places)-mostPlaces):]
	return true
}

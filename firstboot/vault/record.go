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

// Member is a node as the tailnet knows it, which is not what it says of itself.
type Member struct {
	Node string // its name there
	ID   string // stable; another one after it has joined anew
}

// Deposit brings the second share of a node's key, or shows that the node still has
// it, which it only does where its data are open.
type Deposit struct {
	Share secret.String
	Proof string // the Digest of the disk's proof
}

// Question asks for a share.
type Question struct {
	ID    string // the Digest of the share
	Proof secret.String
}

// Record is what a holder knows of one node.
type Record struct {
	Shares []Kept `yaml:"shares,omitempty"`
	// Asking is who waits for the owner's word, Approved whom that let in.
	Asking   *Asking `yaml:"asking,omitempty"`
	Approved *Asking `yaml:"approved,omitempty"`
	// Revoked are members, and digests of shares, that are refused for ever.
	Revoked []string `yaml:"revoked,omitempty"`
}

// Kept is a share with all that must be true of who gets it.
type Kept struct {
	ID     string        `yaml:"id"`
	Share  secret.String `yaml:"share"`
	Proof  string        `yaml:"proof"`
	Member string        `yaml:"member"`
	// Sure is one that its node has shown to use.
	Sure bool `yaml:"sure,omitempty"`
	// Places are where the node was when it had its data open, the latest last.
	Places []netip.Prefix `yaml:"places,omitempty"`
}

// onWord begins the proof of a spare. It is no field of its own, as a holder that went back
// to an older image could not read its book then. To such a one the proof is never shown,
// so it gives the spare to nobody.
const onWord = "word:"

// OnWord is the proof of a share that is given on the owner's word alone, each time, from
// whatever place: a spare.
func OnWord(proof string) string { return onWord + proof }

// Asking is a question that waits for the owner.
type Asking struct {
	ID     string       `yaml:"id" json:"-"`
	Member string       `yaml:"member" json:"member"`
	Place  netip.Prefix `yaml:"place" json:"place,omitzero"` // yaml takes every netip.Prefix for empty
	Why    Why          `yaml:"why" json:"why"`
	// Since is when it was asked first; of an approval, when that was given.
	Since time.Time `yaml:"since" json:"since"`
}

func (a *Asking) same(b *Asking) bool {
	return a != nil && a.ID == b.ID && a.Member == b.Member && a.Place == b.Place
}

// Why is a reason for a no.
type Why string

// The reasons. The first four are the owner's to overcome.
const (
	Sealed  Why = "sealed"  // it is a spare, and its owner has not said so
	Place   Why = "place"   // the node is where it never was
	Relayed Why = "relayed" // nobody sees where it is
	Joined  Why = "joined"  // it has joined the tailnet anew
	Revoked Why = "revoked" // for ever
	Unknown Why = "unknown" // no such share, or not of that disk
	Full    Why = "full"    // too many shares of one node
)

// Refusal is the answer of a holder that gives nothing.
type Refusal struct {
	Why   Why
	Place netip.Prefix // of the one who asks, as the holder sees it
}

func (r *Refusal) Error() string { return reasons[r.Why] }

var reasons = map[Why]string{
	Sealed: "the owner must agree first",
	Place:  "the owner must agree to this place first", Relayed: "it cannot see where this node is", Joined: "this node has joined anew, so the owner must agree first",
	Revoked: "this node is revoked", Unknown: "it does not know this share", Full: "it keeps too many shares of machines of this name ('firstboot revoke --only NAME NUMBER' there removes those of one that is gone)",
}

// Whys are all reasons that there are.
func Whys() []Why { return slices.Sorted(maps.Keys(reasons)) }

// Waits says that the owner's word would help.
func (r *Refusal) Waits() bool {
	return r.Why == Sealed || r.Why == Place || r.Why == Relayed || r.Why == Joined
}

// ErrNobody is for an owner who agrees to what nobody asked.
var ErrNobody = errors.New("it has not asked")

// Bounds of a record.
const (
	mostShares = 16 // of a card written anew again and again; with a TPM it has two
	mostPlaces = 16 // of a line with another address every day
)

// approval is how long the owner's word stands: a node that waits asks twice a minute.
const approval = time.Hour

// PlaceOf is as much of an address as tells one line from another: IPv6 hosts change
// the rest by themselves (RFC 8981). An address that is none is no place.
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

// Deposit takes a share, with the address at which its node was seen. Where it has the
// share already, that address is a place of the node's from then on: who shows the share
// has the data open. It changes nothing but where changed says so.
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

// Ask gives the share, or a *Refusal. A revoked member that shows the disk of a share which
// is not revoked may be another machine: a tailnet that began anew gives its numbers again.
// It waits for the owner's word, each time.
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

// settle forgets a question that somebody else has answered, and a word for it: that lets in
// one question, once.
func (r *Record) settle(id string, who Member) (changed bool) {
	for _, a := range []**Asking{&r.Asking, &r.Approved} {
		if *a != nil && (*a).ID == id && (*a).Member == who.ID {
			*a, changed = nil, true
		}
	}
	return changed
}

// agreed says that the owner's word is for who asks. What asked through a relay, as a node
// does for its first minute, may be seen at a place of its own by now.
func (k *Kept) agreed(word, asks *Asking) bool {
	if word == nil || !slices.Contains(k.Places, asks.Place) {
		return word.same(asks)
	}
	return word.ID == asks.ID && word.Member == asks.Member
}

// doubt is why the owner has to agree, "" where nobody needs to.
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

// ErrAnother is for an owner who agrees to somebody else than they were shown.
var ErrAnother = errors.New("somebody else asks by now: look again")

// Approve lets in the one who waits since then, once, from where it waits.
func (r *Record) Approve(since, now time.Time) (*Asking, error) {
	if r.Asking == nil {
		return nil, ErrNobody
	}
	if !r.Asking.Since.Equal(since) {
		return nil, ErrAnother
	}
	a := *r.Asking
	a.Since = now.UTC().Truncate(time.Second)
	r.Approved = &a
	return &a, nil
}

// Revoke refuses these members, and all shares that there are, for ever. The shares are
// gone. A new member of the name may bring new ones: it is another machine.
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
	r.Asking, r.Approved = nil, nil // who is still let in asks again
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

// makeRoom lets the oldest go that nobody has shown to use: a power cut in a first boot
// leaves such ones. The newest stays: what comes now may belong to it, as a spare does. Where
// all were used, the oldest goes of a machine that had the name before, and was where the
// one of today is: who has the card brings as many shares as they like, and who has the
// tailnet as many members, but not from there.
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

// learn remembers a place as the latest.
func (k *Kept) learn(p netip.Prefix) (changed bool) {
	if !p.IsValid() || len(k.Places) > 0 && k.Places[len(k.Places)-1] == p {
		return false
	}
	k.Places = append(slices.DeleteFunc(k.Places, func(q netip.Prefix) bool { return q == p }), p)
	k.Places = k.Places[max(0, len(k.Places)-mostPlaces):]
	return true
}

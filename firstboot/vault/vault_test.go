package vault

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

var (
	noon   = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	home   = netip.MustParseAddr("198.51.100.4")
	away   = netip.MustParseAddr("203.0.113.7")
	nobody = netip.Addr{}
	cabin  = Member{Node: "cabin-pi", ID: "7"}
)

func share(t *testing.T, fill byte) secret.String {
	t.Helper()
	s, err := NewShare(bytes.NewReader(bytes.Repeat([]byte{fill}, ShareSize)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// owned is a share, and what its node shows for it.
func owned(t *testing.T, fill byte) (Deposit, Question) {
	t.Helper()
	proof, err := Proof(share(t, fill+100))
	if err != nil {
		t.Fatal(err)
	}
	s := share(t, fill)
	return Deposit{Share: s, Proof: Digest(proof)}, Question{ID: Digest(s), Proof: proof}
}

// TestKey: the key depends on both shares, and what else is derived from a share depends on its
// purpose.
func TestKey(t *testing.T) {
	a, b := share(t, 1), share(t, 2)
	key, err := Key(a, b)
	if err != nil || len(key) != keySize {
		t.Fatal(len(key), err)
	}
	for _, other := range [][2]secret.String{{b, a}, {a, a}, {share(t, 3), b}} {
		if k, err := Key(other[0], other[1]); err != nil || bytes.Equal(k, key) {
			t.Errorf("the same key of other shares, %v", err)
		}
	}
	proof, err := Proof(a)
	if raw, _ := hex.DecodeString(proof.Reveal()); err != nil || len(raw) != ShareSize || bytes.Contains(key, raw[:16]) {
		t.Errorf("the proof is of the key: %v", err)
	}
	for _, bad := range []secret.String{"", "AAAA", "no base64!", a + a} {
		if _, err := Key(bad, b); err == nil {
			t.Errorf("a key of a damaged share")
		}
		if _, err := Key(a, bad); err == nil {
			t.Errorf("a key of a damaged share of a peer")
		}
		if _, err := Proof(bad); err == nil {
			t.Errorf("a proof of a damaged share")
		}
	}
	if _, err := NewShare(strings.NewReader("short")); err == nil {
		t.Error("a share of little chance")
	}
	if text := fmt.Sprint(Deposit{Share: a}, Kept{Share: a}); strings.Contains(text, a.Reveal()) {
		t.Error("printed: " + text)
	}
}

// ask asks for a share, and requires that it is given, or the reason for the refusal.
func (r *Record) ask(t *testing.T, who Member, at netip.Addr, q Question, now time.Time, want Why) {
	t.Helper()
	s, _, err := r.Ask(who, at, q, now)
	var no *Refusal
	switch {
	case want == "" && (err != nil || Digest(s) != q.ID):
		t.Errorf("%v from %v: %v", who, at, err)
	case want != "" && (!errors.As(err, &no) || no.Why != want || s != "" || no.Error() == ""):
		t.Errorf("%v from %v: %v, want %s", who, at, err, want)
	}
}

// TestWhoGetsIt: the node, with its disk, from where it was. All others wait, or get nothing.
func TestWhoGetsIt(t *testing.T) {
	d, q := owned(t, 1)
	_, other := owned(t, 2)
	var r Record
	if changed, err := r.Deposit(cabin, home, d); !changed || err != nil {
		t.Fatal(changed, err)
	}
	r.ask(t, cabin, home, q, noon, "")
	r.ask(t, cabin, netip.MustParseAddr("::ffff:198.51.100.4"), q, noon, "")
	r.ask(t, cabin, away, q, noon, Place)
	r.ask(t, cabin, nobody, q, noon, Relayed)
	r.ask(t, Member{"cabin-pi", "8"}, home, q, noon, Joined)
	r.ask(t, cabin, home, Question{q.ID, other.Proof}, noon, Unknown)
	r.ask(t, cabin, home, Question{q.ID, ""}, noon, Unknown)
	r.ask(t, cabin, home, other, noon, Unknown)
	if _, changed, _ := r.Ask(cabin, home, q, noon); changed {
		t.Error("it writes though nothing is new")
	}
}

// TestPlaces: whoever shows the share has the data open, so the place where it is counts as the
// node's from then on.
func TestPlaces(t *testing.T) {
	d, q := owned(t, 1)
	var r Record
	must := func(at netip.Addr, want bool) {
		t.Helper()
		if changed, err := r.Deposit(cabin, at, d); err != nil || changed != want {
			t.Errorf("from %v: changed %v, %v", at, changed, err)
		}
	}
	must(nobody, true)
	r.ask(t, cabin, nobody, q, noon, Relayed)
	must(home, true)
	must(home, false)
	must(netip.MustParseAddr("2001:db8:1:2::5"), true)
	r.ask(t, cabin, home, q, noon, "")
	r.ask(t, cabin, netip.MustParseAddr("2001:db8:1:2::77%eth0"), q, noon, "")
	r.ask(t, cabin, netip.MustParseAddr("2001:db8:1:3::5"), q, noon, Place)
	for i := range 40 {
		must(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), true)
	}
	if n := len(r.Shares[0].Places); n != mostPlaces {
		t.Errorf("%d places", n)
	}
	r.ask(t, cabin, home, q, noon, Place)
}

// TestAThiefTeachesNothing: a locked card can deposit new shares of its own, but neither these nor
// the place that they come from help it to get the old share.
func TestAThiefTeachesNothing(t *testing.T) {
	d, q := owned(t, 1)
	thiefs, thiefsQ := owned(t, 2)
	var r Record
	if _, err := r.Deposit(cabin, home, d); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Deposit(cabin, away, thiefs); err != nil {
			t.Fatal(err)
		}
	}
	r.ask(t, cabin, away, thiefsQ, noon, "")
	r.ask(t, cabin, away, q, noon, Place)
	r.ask(t, cabin, home, q, noon, "")
	forged := d
	forged.Proof = thiefs.Proof
	if _, err := r.Deposit(cabin, away, forged); err == nil {
		t.Error("the share with another disk's proof")
	}
	r.ask(t, cabin, away, q, noon, Place)
}

// TestCombine: two halves make a share, and neither half equals it.
func TestCombine(t *testing.T) {
	disk, spare := share(t, 7), share(t, 9)
	rest, err := Combine(disk, spare)
	if err != nil || rest == disk || rest == spare {
		t.Fatal(err)
	}
	for _, pair := range [][2]secret.String{{rest, spare}, {spare, rest}} {
		if got, err := Combine(pair[0], pair[1]); err != nil || got != disk {
			t.Errorf("%v", err)
		}
	}
	for _, bad := range []secret.String{"", "AAAA", disk + disk} {
		if _, err := Combine(bad, disk); err == nil {
			t.Error("combined with what is no share")
		}
		if _, err := Combine(disk, bad); err == nil {
			t.Error("combined with what is no share")
		}
	}
}

// TestASpare: nobody gets it without the owner's word, from any place, each time anew.
func TestASpare(t *testing.T) {
	d, q := owned(t, 1)
	_, other := owned(t, 2)
	d.Proof = OnWord(d.Proof)
	var r Record
	for range 2 { // its node has it open, and shows where it is
		if _, err := r.Deposit(cabin, home, d); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		r.ask(t, cabin, home, q, noon, Sealed)
		if _, err := r.Approve(noon, noon); err != nil {
			t.Fatal(err)
		}
		r.ask(t, cabin, away, q, noon, Sealed)
		r.ask(t, Member{"cabin-pi", "8"}, home, q, noon, Sealed)
		r.ask(t, cabin, home, Question{q.ID, other.Proof}, noon, Unknown)
		r.ask(t, cabin, home, q, noon, "")
	}
	r.ask(t, Member{"cabin-pi", "8"}, nobody, q, noon, Sealed)
	plain := d
	plain.Proof = strings.TrimPrefix(d.Proof, OnWord(""))
	if _, err := r.Deposit(cabin, home, plain); err == nil {
		t.Error("a spare becomes a share like others")
	}
	r.ask(t, cabin, home, q, noon, Sealed)
	r.Revoke([]string{"7"})
	r.ask(t, cabin, home, q, noon, Revoked)
}

// TestApproval is for one node, one place, once, and for an hour.
func TestApproval(t *testing.T) {
	d, q := owned(t, 1)
	start := func() *Record {
		var r Record
		if _, err := r.Deposit(cabin, home, d); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Approve(noon, noon); !errors.Is(err, ErrNobody) {
			t.Errorf("agreed to nothing: %v", err)
		}
		r.ask(t, cabin, away, q, noon, Place)
		if _, err := r.Approve(noon.Add(time.Second), noon); !errors.Is(err, errAnother) {
			t.Errorf("agreed to another: %v", err)
		}
		if a, err := r.Approve(noon, noon.Add(time.Hour)); err != nil || a.Place != PlaceOf(away) || a.Why != Place {
			t.Fatal(a, err)
		}
		return &r
	}
	now := noon.Add(time.Hour + 30*time.Second)
	r := start()
	r.ask(t, cabin, away, q, now, "")
	r.ask(t, cabin, away, q, now.Add(48*time.Hour), "") // by now it is one of the node's places
	if r.Approved != nil || r.Asking != nil {
		t.Error("the word still stands")
	}
	start().ask(t, cabin, away, q, now.Add(time.Hour), Place)
	start().ask(t, cabin, netip.MustParseAddr("203.0.113.8"), q, now, Place)
	start().ask(t, cabin, nobody, q, now, Relayed)
	start().ask(t, Member{"cabin-pi", "8"}, away, q, now, Joined)

	r = start()
	r.ask(t, Member{"cabin-pi", "8"}, home, q, now, Joined)
	if _, err := r.Approve(now, now); err != nil {
		t.Fatal(err)
	}
	r.ask(t, Member{"cabin-pi", "8"}, home, q, now, "")
	r.ask(t, cabin, home, q, now, Joined) // by now the other member is the node's
}

// TestRevoked: for ever, from the right place, with the right disk, as any member. Only another
// machine of that name can start afresh.
func TestRevoked(t *testing.T) {
	d, q := owned(t, 1)
	next, nextQ := owned(t, 2)
	var r Record
	if _, err := r.Deposit(cabin, home, d); err != nil {
		t.Fatal(err)
	}
	r.ask(t, cabin, away, q, noon, Place)
	if _, err := r.Approve(noon, noon); err != nil {
		t.Fatal(err)
	}
	r.Revoke([]string{"6", ""})
	r.Revoke(nil)
	if len(r.Shares) > 0 || r.Approved != nil || !slices.Equal(r.Revoked, []string{"6", q.ID, "7"}) {
		t.Errorf("%+v", r)
	}
	for _, who := range []Member{cabin, {"cabin-pi", "6"}, {"cabin-pi", "9"}} {
		for _, at := range []netip.Addr{home, away, nobody} {
			r.ask(t, who, at, q, noon, Revoked)
		}
		if _, err := r.Deposit(who, home, d); err == nil {
			t.Errorf("%v brings it again", who)
		}
	}
	if _, err := r.Deposit(cabin, home, next); err == nil {
		t.Error("the revoked member brings another share")
	}
	if _, err := r.Approve(noon, noon); err == nil {
		t.Error("the owner's word undoes it")
	}
	if _, err := r.Deposit(Member{"cabin-pi", "9"}, home, next); err != nil {
		t.Error(err)
	}
	r.ask(t, Member{"cabin-pi", "9"}, home, nextQ, noon, "")
}

// TestOneWordOneQuestion: once a node has got its share without the owner's word, or shows that it
// has it, it waits for no word any more. Another node that asks still does.
func TestOneWordOneQuestion(t *testing.T) {
	d, q := owned(t, 1)
	for what, ends := range map[string]func(r *Record) (changed bool, err error){
		"given":    func(r *Record) (bool, error) { _, changed, err := r.Ask(cabin, home, q, noon); return changed, err },
		"shown":    func(r *Record) (bool, error) { return r.Deposit(cabin, home, d) },
		"anothers": func(r *Record) (bool, error) { return r.Deposit(Member{"cabin-pi", "8"}, home, d) },
	} {
		for _, word := range []bool{false, true} {
			var r Record
			for range 2 {
				if _, err := r.Deposit(cabin, home, d); err != nil {
					t.Fatal(err)
				}
			}
			r.ask(t, cabin, nobody, q, noon, Relayed) // as in its first minute
			if word {
				if _, err := r.Approve(noon, noon); err != nil {
					t.Fatal(err)
				}
			}
			changed, err := ends(&r)
			stays := what == "anothers"
			if err != nil || !changed || (r.Asking != nil) != stays || (r.Approved != nil) != (stays && word) {
				t.Errorf("%s, word %v: changed %v, %v, %+v, %+v", what, word, changed, err, r.Asking, r.Approved)
			}
		}
	}
}

// TestRevokedAgain: the holder was away during the first revocation. What today's machine deposited
// meanwhile stays.
func TestRevokedAgain(t *testing.T) {
	d, q := owned(t, 1)
	next, nextQ := owned(t, 2)
	today := Member{"cabin-pi", "12"}
	var r Record
	for who, d := range map[Member]Deposit{cabin: d, today: next} {
		if _, err := r.Deposit(who, home, d); err != nil {
			t.Fatal(err)
		}
	}
	r.RevokeOnly([]string{"7"})
	r.ask(t, cabin, home, q, noon, Revoked)
	r.ask(t, today, home, q, noon, Revoked)
	r.ask(t, today, home, nextQ, noon, "")
	if _, err := r.Deposit(today, home, next); err != nil || len(r.Shares) != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestANumberThatIsGivenAgain: a tailnet that began anew gives an old ID to another machine of that
// name. It gets nothing without the owner's word, each time, and what was revoked stays revoked.
func TestANumberThatIsGivenAgain(t *testing.T) {
	d, q := owned(t, 1)
	next, nextQ := owned(t, 2)
	_, other := owned(t, 3)
	var r Record
	if _, err := r.Deposit(cabin, home, d); err != nil {
		t.Fatal(err)
	}
	r.Revoke(nil)
	if _, err := r.Deposit(Member{"cabin-pi", "12"}, home, next); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.ask(t, cabin, home, Question{nextQ.ID, other.Proof}, noon, Revoked)
		r.ask(t, cabin, home, q, noon, Revoked)
		r.ask(t, cabin, home, nextQ, noon, Joined)
		if _, err := r.Approve(noon, noon); err != nil {
			t.Fatal(err)
		}
		r.ask(t, cabin, away, nextQ, noon, Joined)
		r.ask(t, cabin, home, nextQ, noon, "")
	}
	r.RevokeOnly([]string{"7"})
	r.ask(t, cabin, home, nextQ, noon, Revoked)
}

// TestRoomForTheNextMachine: for the next machine of a name, the oldest share goes of a machine
// that was at the same place. A machine elsewhere removes nothing, nor does a machine remove its
// own shares.
func TestRoomForTheNextMachine(t *testing.T) {
	for what, c := range map[string]struct {
		who  Member
		at   netip.Addr
		room bool
	}{
		"the next one":            {Member{"cabin-pi", "12"}, home, true},
		"a member from elsewhere": {Member{"cabin-pi", "12"}, away, false},
		"a member behind a relay": {Member{"cabin-pi", "12"}, nobody, false},
		"the same":                {cabin, home, false},
	} {
		var r Record
		for i := byte(1); i <= mostShares; i++ {
			d, _ := owned(t, i)
			for range 2 {
				if _, err := r.Deposit(cabin, home, d); err != nil {
					t.Fatal(err)
				}
			}
		}
		before := slices.Clone(r.Shares)
		pair := make([]Deposit, 2)
		for i := range pair {
			pair[i], _ = owned(t, byte(40+i))
			_, err := r.Deposit(c.who, c.at, pair[i])
			var no *Refusal
			if (err == nil) != c.room || err != nil && (!errors.As(err, &no) || no.Why != Full) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if gone := before[0].ID != r.Shares[0].ID; gone != c.room || len(r.Shares) != mostShares || c.room && (r.Shares[0].ID != before[2].ID || r.kept(Digest(pair[0].Share)) == nil) {
			t.Errorf("%s: the oldest is gone: %v, %d shares", what, gone, len(r.Shares))
		}
	}
}

// TestRoom: shares that nobody uses make room for others; shares in use never do.
func TestRoom(t *testing.T) {
	first, firstQ := owned(t, 1)
	var r Record
	for range 2 { // the second time makes it sure
		if _, err := r.Deposit(cabin, home, first); err != nil {
			t.Fatal(err)
		}
	}
	for i := byte(2); i < 40; i++ {
		d, _ := owned(t, i)
		if _, err := r.Deposit(cabin, home, d); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Shares) != mostShares {
		t.Errorf("%d shares", len(r.Shares))
	}
	r.ask(t, cabin, home, firstQ, noon, "")
	for i := range r.Shares {
		r.Shares[i].Sure = true
	}
	d, _ := owned(t, 99)
	var no *Refusal
	if _, err := r.Deposit(cabin, home, d); !errors.As(err, &no) || no.Why != Full || no.Waits() {
		t.Error(err)
	}
	if _, err := r.Deposit(cabin, home, Deposit{Share: "short"}); err == nil {
		t.Error("took what is no share")
	}
}

// TestTheSecondOfAPairEvictsNotTheFirst, if all others were shown to be used.
func TestTheSecondOfAPairEvictsNotTheFirst(t *testing.T) {
	var r Record
	for i := byte(1); i < mostShares; i++ {
		d, _ := owned(t, i)
		for range 2 {
			if _, err := r.Deposit(cabin, home, d); err != nil {
				t.Fatal(err)
			}
		}
	}
	peer, q := owned(t, 40)
	spare, _ := owned(t, 50)
	spare.Proof = OnWord(spare.Proof)
	if _, err := r.Deposit(cabin, home, peer); err != nil {
		t.Fatal(err)
	}
	var no *Refusal
	if _, err := r.Deposit(cabin, home, spare); !errors.As(err, &no) || no.Why != Full {
		t.Errorf("there was room: %v", err)
	}
	if s, _, err := r.Ask(cabin, home, q, noon); err != nil || s != peer.Share {
		t.Errorf("the first is gone: %v", err)
	}
}

// TestAWordForARelay is valid once the node is seen at one of its places, and nowhere else.
func TestAWordForARelay(t *testing.T) {
	for at, given := range map[netip.Addr]bool{home: true, away: false} {
		var r Record
		d, q := owned(t, 50)
		d.Proof = OnWord(d.Proof)
		if _, err := r.Deposit(cabin, home, d); err != nil {
			t.Fatal(err)
		}
		_, _, _ = r.Ask(cabin, netip.Addr{}, q, noon)
		if _, err := r.Approve(r.Asking.Since, noon); err != nil {
			t.Fatal(err)
		}
		if s, _, err := r.Ask(cabin, at, q, noon); (s == d.Share) != given {
			t.Errorf("at %v: %v", at, err)
		}
	}
}

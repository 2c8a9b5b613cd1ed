package firstboot_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// keyFile is a key file for a node, signed.
func keyFile(t *testing.T, name, key string, seed byte, at time.Time) string {
	t.Helper()
	_, private := keyPair(t, seed)
	out, err := node.Sign(node.MarshalKey(name, secret.String(key)), name, private, at)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// offer hands something over on the page of a node that is on, once the status
// is as it must be for that, until it joins, refuses or fails again. It
// returns what the page answers.
func (w *world) offer(when func(firstboot.Status) bool, data string) (last firstboot.Status, cutAt string, answer error) {
	offered, asked := false, 0
	last, cutAt = w.boot(func(s firstboot.Status) bool {
		if !offered && when(s) {
			offered, asked = true, s.Asked
			answer = firstboot.Offer(w.host(), []byte(data))
		}
		return offered && (s.Notice != nil || s.Asked > asked && needsPerson(s))
	})
	return last, cutAt, answer
}

func spent(s firstboot.Status) bool {
	return s.NextTry == nil && s.State == firstboot.NeedsPerson && s.Problem.Code == "key-spent"
}

func lost(s firstboot.Status) bool {
	return s.State == firstboot.NeedsPerson && s.Problem.Code == "key-lost"
}

// spentWorld is a node whose key somebody used before.
func spentWorld(t *testing.T) *world {
	w := newWorld(t, owned(t, 1))
	w.spent["hskey-auth-first"] = true
	return w
}

// lostWorld is a sealed node that Headscale has forgotten.
func lostWorld(t *testing.T) *world {
	w := joinedWorld(t, owned(t, 1))
	w.haveKey, w.running = false, false
	w.reboot()
	return w
}

// TestSpentKeyIsMended by another one that comes through the page: without the
// card in hand, and without a reboot.
func TestSpentKeyIsMended(t *testing.T) {
	for name, c := range map[string]struct {
		world *world
		when  func(firstboot.Status) bool
	}{"newcomer": {spentWorld(t), spent}, "member": {lostWorld(t), lost}} {
		t.Run(name, func(t *testing.T) {
			w := c.world
			s, _, answer := w.offer(c.when, keyFile(t, "home-pi", "hskey-auth-second", 1, noon))
			if answer != nil || s.State != firstboot.Joined || !w.spent["hskey-auth-second"] {
				t.Fatalf("%v; %s", answer, s.Line())
			}
			if leak := leaks(w); leak != "" || w.files["/run/firstboot-page/offer"] != nil {
				t.Errorf("left behind: %s", leak)
			}
			w.refuses("offer-old", keyFile(t, "home-pi", "hskey-auth-second", 1, noon))
			w.refuses("offer-old", keyFile(t, "home-pi", "hskey-auth-third", 1, noon.Add(-time.Hour)))
		})
	}
}

// TestARefusedOfferPushesNoneAside: what anybody in the LAN may send does not keep a
// node from what its owner signed a moment before; an owner's later file does.
func TestARefusedOfferPushesNoneAside(t *testing.T) {
	const place = "/run/firstboot-page/offer"
	w := lostWorld(t)
	good, later := keyFile(t, "home-pi", "hskey-auth-second", 1, noon), keyFile(t, "home-pi", "hskey-auth-third", 1, noon.Add(time.Minute))
	for _, c := range []struct{ data, code, lies string }{
		{"nonsense", "offer-unsigned", "nonsense"}, // the screen tells why
		{good, "", good},
		{"nonsense", "offer-unsigned", good},
		{keyFile(t, "cabin-pi", "hskey-auth-other", 1, noon), "offer-node", good},
		{later, "", later},
	} {
		var p *firstboot.Problem
		err := firstboot.Offer(w.host(), []byte(c.data))
		if (err == nil) != (c.code == "") || err != nil && (!errors.As(err, &p) || p.Code != c.code) || w.text(place) != c.lies {
			t.Errorf("%.20q: %v, and there lies %.20q", c.data, err, w.text(place))
		}
	}
}

// TestSignedAhead: what was signed with a fast clock is not taken, as it would keep out all that is
// signed with a right one.
func TestSignedAhead(t *testing.T) {
	w := lostWorld(t)
	tomorrow := keyFile(t, "home-pi", "hskey-auth-second", 1, w.now.Add(23*time.Hour))
	later := keyFile(t, "home-pi", "hskey-auth-second", 1, w.now.Add(25*time.Hour))
	w.refuses("offer-ahead", later)
	if err := firstboot.Offer(w.host(), []byte(tomorrow)); err != nil {
		t.Errorf("a clock that is some hours fast: %v", err)
	}
	w.synced = false
	if err := firstboot.Offer(w.host(), []byte(later)); err != nil {
		t.Errorf("a node that does not know the time: %v", err)
	}
}

// refuses asks what the page answers to a file.
func (w *world) refuses(code, data string) {
	w.t.Helper()
	var p *firstboot.Problem
	if err := firstboot.Offer(w.host(), []byte(data)); !errors.As(err, &p) || p.Code != code {
		w.t.Errorf("answered %v, want %s", err, code)
	}
	delete(w.files, "/run/firstboot-page/offer")
}

// TestReplay: what was taken holds until something later is, before and after
// the node joined.
func TestReplay(t *testing.T) {
	for name, w := range map[string]*world{"newcomer": spentWorld(t), "member": lostWorld(t)} {
		t.Run(name, func(t *testing.T) {
			w.spent["hskey-auth-second"] = true // it does not help, so the node is still there to be asked
			when := func(s firstboot.Status) bool { return spent(s) || lost(s) }
			file := keyFile(t, "home-pi", "hskey-auth-second", 1, noon)
			if s, _, answer := w.offer(when, file); answer != nil || s.Notice != nil && s.Notice.Code != "" {
				t.Fatalf("%v; %s", answer, s.Line())
			}
			w.refuses("offer-old", file)
			w.reboot()
			w.refuses("offer-old", file)
			if s, _, answer := w.offer(when, keyFile(t, "home-pi", "hskey-auth-third", 1, noon.Add(time.Second))); answer != nil || s.State != firstboot.Joined {
				t.Errorf("%v; %s", answer, s.Line())
			}
		})
	}
}

// TestOfferRefused: what the owner did not sign for this node changes nothing,
// and the screen says why.
func TestOfferRefused(t *testing.T) {
	good := keyFile(t, "home-pi", "hskey-auth-second", 1, noon)
	other := strings.Replace(initYAML, "node: home-pi", "node: cabin-pi", 1)
	public, _ := keyPair(t, 1)
	for name, c := range map[string]struct {
		code, data string
		words      string
	}{
		"unsigned":       {"offer-unsigned", string(node.MarshalKey("home-pi", "hskey-auth-second")), "does not bear the signature"},
		"node.yaml":      {"offer-unsigned", edit(t, owned(t, 1), "hskey-auth-first", "hskey-auth-second"), "does not bear the signature"},
		"stranger":       {"offer-wrong", keyFile(t, "home-pi", "hskey-auth-second", 2, noon), "no valid signature"},
		"changed":        {"offer-wrong", edit(t, good, "hskey-auth-second", "hskey-auth-third"), "no valid signature"},
		"cut":            {"offer-wrong", good[:len(good)-20], "no valid signature"},
		"followed":       {"offer-wrong", good + "site: cabin\n", "no valid signature"},
		"for another":    {"offer-node", keyFile(t, "cabin-pi", "hskey-auth-second", 1, noon), "is for node cabin-pi, this is home-pi"},
		"signed for it":  {"offer-node", resign(t, string(node.MarshalKey("home-pi", "hskey-auth-second")), "cabin-pi", noon), "is for node cabin-pi, this is home-pi"},
		"of another":     {"offer-node", resign(t, other, "home-pi", noon), "is for node cabin-pi, this is home-pi"},
		"mistaken":       {"offer-mistake", resign(t, "version: 1\nnode: home-pi\nauthKey: a b\n", "home-pi", noon), "a space or another character"},
		"of no kind":     {"offer-mistake", resign(t, "hello\n", "home-pi", noon), "has a mistake"},
		"another owner":  {"signature-wrong", sign(t, edit(t, owned(t, 1), public, otherOwner(t)), 1, noon), "signature in node.yaml was made with key"},
		"empty":          {"offer-unsigned", "", "does not bear"},
		"a picture":      {"offer-unsigned", "\x89PNG\r\n\x1a\n", "does not bear"},
		"nothing but it": {"offer-wrong", good[strings.Index(good, "# untrusted"):], ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := spentWorld(t)
			before := w.bootYAML()
			s, _, answer := w.offer(spent, c.data)
			var p *firstboot.Problem
			if !errors.As(answer, &p) || p.Code != c.code && name != "nothing but it" {
				t.Fatalf("the page answers %v, want %s", answer, c.code)
			}
			text := strings.Join(strings.Fields(string(s.Text())), " ")
			if s.Notice == nil || s.Notice.Code != p.Code || !strings.Contains(text, p.Summary) || !strings.Contains(text, c.words) || s.Problem.Code != "key-spent" {
				t.Errorf("the screen says:\n%s", text)
			}
			if w.bootYAML() != before || w.files["/run/firstboot-page/offer"] != nil || w.files["/var/lib/imagebuilder/firstboot/taking"] != nil {
				t.Error("something was left of it")
			}
		})
	}
	w := newWorld(t, initYAML)
	w.refuses("offer-owner", good)
	w.refuses("offer-large", strings.Repeat("x", node.ReservedSize+1))
	w.personalise("")
	w.refuses("offer-owner", good)
}

func otherOwner(t *testing.T) string {
	public, _ := keyPair(t, 2)
	return public
}

// resign signs any text for a node.
func resign(t *testing.T, text, name string, at time.Time) string {
	t.Helper()
	_, private := keyPair(t, 1)
	out, err := node.Sign([]byte(text), name, private, at)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestWholeNodeHandedOver: a signed node.yaml changes what only its owner may.
func TestWholeNodeHandedOver(t *testing.T) {
	w := lostWorld(t)
	text := edit(t, edit(t, owned(t, 1), "hskey-auth-first", "hskey-auth-second"), "site: home", "site: cabin")
	file := sign(t, text, 1, noon)
	s, _, answer := w.offer(lost, file)
	if answer != nil || s.State != firstboot.Joined || s.Site != "cabin" || s.Notice != nil || leaks(w) != "" {
		t.Fatalf("%v; %s; %s", answer, s.Line(), leaks(w))
	}
	w.refuses("offer-old", file)
	if s := w.replant(sign(t, edit(t, text, "cabin", "home"), 1, noon.Add(-time.Hour))); s.Notice == nil || s.Notice.Code != "signature-old" {
		t.Errorf("the card brings an older one: %s", s.Line())
	}
}

// TestTakingCutOff breaks each call while a key is handed over, in every way.
// The node never loses its file, and after the next tries it has joined.
func TestTakingCutOff(t *testing.T) {
	file := keyFile(t, "home-pi", "hskey-auth-second", 1, noon)
	for name, c := range map[string]struct {
		world func(*testing.T) *world
		when  func(firstboot.Status) bool
	}{"newcomer": {spentWorld, spent}, "member": {lostWorld, lost}} {
		for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
			t.Run(name+" "+kind, func(t *testing.T) {
				for n := 1; ; n++ {
					w := c.world(t)
					at := w.breakAfterOffer(n, f)
					_, cutAt, _ := w.offer(c.when, file)
					if *at == "" {
						if n < 20 {
							t.Errorf("only %d calls were broken", n-1)
						}
						return
					}
					w.mendsItself(fmt.Sprintf("call %d (%s) broken", n, *at), cutAt, file, c.when)
				}
			})
		}
	}
}

// breakAfterOffer breaks the n-th call that follows upon the offer, up to the
// new file's first use; at is its name.
func (w *world) breakAfterOffer(n int, f fault) (at *string) {
	at = new(string)
	seen, used := 0, false
	w.fault = func(_ int, what string) fault {
		used = used || seen > 0 && strings.HasPrefix(what, "tailnet up")
		if used || seen == 0 && w.files["/run/firstboot-page/offer"] == nil {
			return none
		}
		if seen++; seen == n {
			*at = what
			return f
		}
		return none
	}
	return at
}

func (w *world) mendsItself(what, cutAt, file string, when func(firstboot.Status) bool) {
	w.t.Helper()
	w.fault = nil
	for try := 0; ; try++ {
		if cutAt != "" || try == 0 {
			w.reboot()
		}
		var s firstboot.Status
		if s, cutAt, _ = w.offer(when, file); s.State == firstboot.Joined {
			break
		}
		if try == 3 {
			w.t.Fatalf("%s: ends %s", what, s.Line())
		}
	}
	if leak := leaks(w); leak != "" || w.files["/var/lib/imagebuilder/firstboot/taking"] != nil {
		w.t.Fatalf("%s: left behind: %s", what, leak)
	}
}

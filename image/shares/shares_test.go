package shares

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/vault"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

func encrypted(t *testing.T) *fleet.Fleet {
	t.Helper()
	text := strings.Replace(string(fleet.Example), "sites:\n", "  storage: {encrypt: true}\nsites:\n", 1)
	f, err := fleet.Load("fleet.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// holders are cabin-box's holders vps and home-pi, which answer by a table of commands.
func holders(t *testing.T, answers map[string]string) (*Holders, *[]string) {
	t.Helper()
	rows := []roster.Row{{Node: "vps", Number: "1", Address: netip.MustParseAddr("100.64.0.1")}, {Node: "home-pi", Number: "2", Address: netip.MustParseAddr("100.64.0.2")}}
	h, err := Of(encrypted(t), rows, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	asked := new([]string)
	h.tell = func(_ context.Context, s inquiry.Subject, command string, _ io.Reader) ([]byte, error) {
		line := s.Node + ": " + command
		*asked = append(*asked, line)
		out, ok := answers[line]
		if out == silence {
			return nil, &inquiry.SilentError{Why: "Connection refused"}
		}
		if !ok {
			return nil, errors.New("it has not asked")
		}
		return []byte(out), nil
	}
	return h, asked
}

// TestNobodyWaits: a holder that could not be asked is not counted as one without a waiting
// node.
func TestNobodyWaits(t *testing.T) {
	const vps, pi = "vps: firstboot unlock cabin-box", "home-pi: firstboot unlock cabin-box"
	for want, answers := range map[string]map[string]string{
		"cabin-box waits for nobody's word at any of them":                                       {},
		"whether cabin-box waits nobody knows: none of those that keep its share could be asked": {vps: silence, pi: silence},
		"cabin-box waits for nobody's word at those that answered; vps could not be asked":       {vps: silence},
		"": {vps: silence, pi: waits},
	} {
		h, _ := holders(t, answers)
		all := h.Waiting(t.Context())
		if err := h.CheckWaits(all); (err != nil) != (want != "") || err != nil && err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
		if said := all[0].String(); (said == "vps: could not be asked: Connection refused") != (answers[vps] == silence) {
			t.Error(said)
		}
	}
}

// TestStrangersAreNoHolders: a stranger with a holder's name is not asked; the machine that
// runs Headscale is, by its public name.
func TestStrangersAreNoHolders(t *testing.T) {
	f, err := fleet.Load("fleet.yaml", fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Of(f, []roster.Row{{Node: "vps", Address: netip.MustParseAddr("100.64.0.1"), Stranger: true}, {Node: "home-pi", Address: netip.MustParseAddr("100.64.0.2"), Stranger: true}}, "cabin-box")
	if err != nil || len(h.subjects) != 1 || h.subjects["vps"] != (inquiry.Subject{Node: "vps"}) {
		t.Errorf("%v, %v", h.subjects, err)
	}
}

// silence is the answer of a holder that is offline.
const silence = "-"

const waits = `{"place":"203.0.113.7/32","why":"place","since":"2026-11-30T12:00:00Z","member":"7"}`

// TestUnlock approves what was shown, at a holder at which the node waits, and nowhere else.
func TestUnlock(t *testing.T) {
	const agree = "home-pi: firstboot unlock --since 2026-11-30T12:00:00Z cabin-box"
	h, asked := holders(t, map[string]string{"home-pi: firstboot unlock cabin-box": waits, agree: waits})
	all := h.Waiting(t.Context())
	want := []string{"vps: it has not asked", "home-pi: it asks from 203.0.113.7 since 2026-11-30 12:00:00 UTC; it never was there"}
	if len(all) != 2 || all[0].String() != want[0] || all[1].String() != want[1] {
		t.Errorf("%v", all)
	}
	*asked = nil
	if agreed, err := h.Unlock(t.Context(), all); err != nil || agreed != "home-pi" || !slices.Equal(*asked, []string{agree}) {
		t.Errorf("%v, %v, %v", agreed, err, *asked)
	}
	all[0] = Answer{Holder: "vps", Waits: true, Since: time.Unix(0, 0).UTC()}
	if agreed, err := h.Unlock(t.Context(), all); err != nil || agreed != "home-pi" {
		t.Errorf("the next one is asked: %v, %v", agreed, err)
	}
	if agreed, err := h.Unlock(t.Context(), all[:1]); err == nil || agreed != "" {
		t.Errorf("%v, %v", agreed, err)
	}
}

// TestOneAgrees: one approval answers one question, so no second holder gets it.
func TestOneAgrees(t *testing.T) {
	const vps = "vps: firstboot unlock --since 2026-11-30T12:00:00Z cabin-box"
	h, asked := holders(t, map[string]string{"vps: firstboot unlock cabin-box": waits, "home-pi: firstboot unlock cabin-box": waits, vps: waits})
	all := h.Waiting(t.Context())
	*asked = nil
	if agreed, err := h.Unlock(t.Context(), all); err != nil || agreed != "vps" || !slices.Equal(*asked, []string{vps}) {
		t.Errorf("%v, %v, %v", agreed, err, *asked)
	}
}

// TestAnswersOfMachinesInOtherHands: only known words in them reach the terminal.
func TestAnswersOfMachinesInOtherHands(t *testing.T) {
	for _, answer := range []string{"", "{}", `{"why":"place"}`, `{"why":"\u001b[2J","since":"2026-11-30T12:00:00Z"}`, `{"place":"x","why":"place","since":"2026-11-30T12:00:00Z"}`} {
		h, _ := holders(t, map[string]string{"vps: firstboot unlock cabin-box": answer})
		if a := h.Waiting(t.Context())[0]; a.Waits || !strings.Contains(a.Fault, "older") {
			t.Errorf("%q: %+v", answer, a)
		}
	}
}

// TestEveryReasonHasWords: every reason for asking the owner has words; an answer with
// another reason is refused.
func TestEveryReasonHasWords(t *testing.T) {
	for _, why := range vault.Whys() {
		out, err := json.Marshal(vault.Asking{Member: "7", Why: why, Since: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		h, _ := holders(t, map[string]string{"vps: firstboot unlock cabin-box": string(out)})
		a, waits := h.Waiting(t.Context())[0], (&vault.Refusal{Why: why}).Waits()
		if a.Waits != waits || (a.Why != "") != waits {
			t.Errorf("%s: %+v", why, a)
		}
	}
}

// TestRevoke tells the named holders; the error says which do not know, and what to do
// there.
func TestRevoke(t *testing.T) {
	both := []string{"vps", "home-pi"}
	h, asked := holders(t, map[string]string{"vps: firstboot revoke cabin-box 7 8": "", "home-pi: firstboot revoke --only cabin-box 7": ""})
	told, err := h.Revoke(t.Context(), both, []string{"7", "8"}, false)
	if err == nil || !strings.Contains(err.Error(), "home-pi: ") || strings.Contains(err.Error(), "vps") || len(*asked) != 2 || !slices.Equal(told, both[:1]) {
		t.Errorf("%v, %v, %v", told, err, *asked)
	}
	if err == nil || !strings.HasSuffix(err.Error(), "whatever way you have to them: firstboot revoke cabin-box 7 8") {
		t.Error(err)
	}
	*asked = nil
	if told, err := h.Revoke(t.Context(), both[1:], []string{"7"}, true); err != nil || !slices.Equal(told, both[1:]) || len(*asked) != 1 {
		t.Errorf("%v, %v, %v", told, err, *asked)
	}
	for _, bad := range []string{"", "7; rm -rf /", "$(x)"} {
		*asked = nil
		if _, err := h.Revoke(t.Context(), both, []string{bad}, false); err == nil || len(*asked) > 0 {
			t.Errorf("%q went into a shell: %v", bad, *asked)
		}
	}
}

// TestHeadscaleIsSilent: the machine that runs Headscale is told by its public name; for the
// others the error says that their addresses are not known.
func TestHeadscaleIsSilent(t *testing.T) {
	h, asked := holders(t, map[string]string{"vps: firstboot revoke cabin-box": ""})
	known, err := Of(encrypted(t), nil, "cabin-box")
	if err != nil || known.subjects["vps"].Address.IsValid() || !h.subjects["vps"].Address.IsValid() {
		t.Fatalf("%+v, %v", known, err)
	}
	h.subjects = known.subjects
	told, err := h.Revoke(t.Context(), []string{"vps", "home-pi"}, nil, false)
	if err == nil || !strings.Contains(err.Error(), "home-pi: it has no address") || !slices.Equal(told, []string{"vps"}) || len(*asked) != 1 {
		t.Errorf("%v, %v, %v", told, err, *asked)
	}
}

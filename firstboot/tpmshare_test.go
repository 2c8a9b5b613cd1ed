package firstboot_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/crashtest"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

const (
	storageName = "/var/lib/imagebuilder/firstboot/storage.yaml"
	nextName    = "/var/lib/imagebuilder/firstboot/storage-next.yaml"
)

// sealedWorld has a TPM.
func sealedWorld(t testing.TB) *world {
	w := encryptWorld(t)
	w.chip = "a 1"
	return w
}

// stored is what storageFile says of the disk's share.
func stored(w *world) (s struct {
	Version int
	Disk    secret.String
	TPM     struct {
		Sealed, Proof, Spare string
		Rest                 secret.String
	}
}) {
	if err := yaml.Unmarshal([]byte(w.text(storageName)), &s); err != nil {
		w.t.Errorf("%v", err)
	}
	return s
}

// diskShareOf returns the share of a sealed node, as made from the spare.
func diskShareOf(w *world) secret.String {
	s := stored(w)
	for _, r := range w.holders {
		for _, k := range r.Shares {
			if k.ID == s.TPM.Spare {
				share, err := vault.Combine(k.Share, s.TPM.Rest)
				if err != nil {
					w.t.Fatal(err)
				}
				return share
			}
		}
	}
	w.t.Fatal("no holder has the spare")
	return ""
}

// wantJoined boots, and wants k3s to run with what was locked.
func wantJoined(t *testing.T, w *world) {
	t.Helper()
	if s, _ := w.boot(nil); s.State != firstboot.Joined || !strings.Contains(w.ranWith, "s3-secret") {
		t.Errorf("%s", s.Line())
	}
}

// missed is how long a node waits until it tells its holders again.
const missed = 5 * time.Minute

// staysOn is a node that stays on, until something is so.
func staysOn(t *testing.T, w *world, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	looks := 0
	_ = firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) {
		if s.State != firstboot.Joined {
			return
		}
		w.now = w.now.Add(missed)
		if looks++; so() {
			cancel()
		} else if looks > 200 {
			t.Error("it never is")
			cancel()
		}
	})
}

// agreed gives the owner's word to the first holder.
func agreed(t *testing.T, w *world) {
	t.Helper()
	r := w.holders[vpsIP]
	if r.Asking == nil {
		t.Fatal("it does not ask")
	}
	if _, err := r.Approve(r.Asking.Since, w.now); err != nil {
		t.Fatal(err)
	}
}

// TestSealed: the disk's share is on no disk, and the TPM alone gives it back.
func TestSealed(t *testing.T) {
	w := sealedWorld(t)
	wantJoined(t, w)
	share := diskShareOf(w)
	for name, e := range w.files {
		if strings.Contains(string(e.data), share.Reveal()) {
			t.Errorf("%s has the disk's share", name)
		}
	}
	if s := stored(w); s.Version != 2 || !s.Disk.Empty() || s.TPM.Sealed == "" {
		t.Errorf("%s", w.text(storageName))
	}
	if bad := inTheOpen(w); bad != "" {
		t.Error(bad)
	}
	w.reboot()
	wantJoined(t, w)
	for at, r := range w.holders {
		if r.Asking != nil || len(r.Shares) != 2 {
			t.Errorf("%v: %+v", at, r)
		}
	}
}

// TestTPMRefuses: what keeps the share sealed is said in words, and the owner's word is
// the way back: for ever where a TPM can seal anew, each time where there is none.
func TestTPMRefuses(t *testing.T) {
	for code, spoil := range map[string]func(*world){
		"tpm-changed": func(w *world) { w.chip = "a 2" },
		"tpm-other":   func(w *world) { w.chip = "b 1" },
		"tpm-none":    func(w *world) { w.chip = "" },
		"tpm-failed":  func(w *world) { w.chipErr = errors.New("TPM_RC_FAILURE") },
	} {
		t.Run(code, func(t *testing.T) {
			w := sealedWorld(t)
			wantJoined(t, w)
			share := diskShareOf(w)
			w.reboot()
			spoil(w)
			waits(t, w, code)
			if r := w.holders[vpsIP]; r.Asking == nil || r.Asking.Why != vault.Sealed {
				t.Fatalf("%+v", r.Asking)
			}
			before := w.text(storageName)
			agreed(t, w)
			again := code == "tpm-none" || code == "tpm-failed"
			open := false
			staysOn(t, w, func() bool { open = true; return again || w.text(storageName) != before })
			if !open || diskShareOf(w) != share {
				t.Error("not opened by the owner's word, or with another share")
			}
			w.reboot()
			if again {
				waits(t, w, code)
				return
			}
			wantJoined(t, w)
		})
	}
}

// TestNobodyHasTheSpare: all holders lack it, or refuse it for ever.
func TestNobodyHasTheSpare(t *testing.T) {
	start := func() *world {
		w := sealedWorld(t)
		wantJoined(t, w)
		w.reboot()
		w.chip = "a 2"
		return w
	}
	w := start()
	w.holders[vpsIP], w.holders[cabinIP] = nil, nil
	waits(t, w, "share-nobody")
	s, _ := w.boot(anyProblem)
	if s.Problem == nil || !strings.Contains(s.Problem.Summary, "PCR 7") {
		t.Errorf("it does not say what the TPM says: %s", s.Line())
	}
	w = start()
	w.holders[vpsIP].Revoke([]string{"7"})
	waits(t, w, "share-revoked")
	w = start()
	s2 := stored(w)
	w.put(storageName, strings.Replace(w.text(storageName), s2.TPM.Proof, "other", 1))
	w.boot(anyProblem)
	agreed(t, w)
	waits(t, w, "storage-lost")
}

// TestSealsNothingWithoutASpare: a share that only the TPM has would be lost with the TPM.
func TestSealsNothingWithoutASpare(t *testing.T) {
	w := sealedWorld(t)
	w.holders[vpsIP], w.holders[cabinIP] = nil, nil
	waits(t, w, "share-nobody")
	if w.text(storageName) != "" {
		t.Error("it began all the same")
	}
	w = encryptWorld(t) // in the clear until there is a TPM
	wantJoined(t, w)
	w.chip = "a 1"
	w.holders[vpsIP], w.holders[cabinIP] = nil, nil
	looks := 0
	staysOn(t, w, func() bool { looks++; return looks > 50 })
	if stored(w).Version != 1 {
		t.Errorf("sealed, and nobody has the spare: %s", w.text(storageName))
	}
}

// TestABrokenTPMAtFirst: until it works it counts as no TPM, and no node waits for it.
func TestABrokenTPMAtFirst(t *testing.T) {
	w := sealedWorld(t)
	w.chipErr = errors.New("TPM_RC_FAILURE")
	wantJoined(t, w)
	if stored(w).Version != 1 {
		t.Fatalf("%s", w.text(storageName))
	}
	w.chipErr = nil
	staysOn(t, w, func() bool { return stored(w).Version == 2 })
	w.reboot()
	wantJoined(t, w)
}

// TestATrialSealsNothing: the slot to which it falls back could not open it.
func TestATrialSealsNothing(t *testing.T) {
	w := encryptWorld(t)
	wantJoined(t, w)
	w.chip, w.trial = "a 1", &contract.Trial{}
	blessed := w.fault
	w.fault = func(n int, name string) fault {
		if name == "bless" {
			return before
		}
		return none
	}
	looks := 0
	staysOn(t, w, func() bool { looks++; return looks > 50 })
	if stored(w).Version != 1 {
		t.Error("sealed on trial")
	}
	w.fault, w.trial = blessed, nil
	w.now = w.now.Add(2 * time.Hour)
	staysOn(t, w, func() bool { return stored(w).Version == 2 })
}

// TestSealsNothingBeforeATrial: the other slot's system was asked whether it opens the data
// as they are kept now.
func TestSealsNothingBeforeATrial(t *testing.T) {
	w := encryptWorld(t)
	wantJoined(t, w)
	w.chip, w.leaves = "a 1", true
	looks := 0
	staysOn(t, w, func() bool { looks++; return looks > 50 })
	if stored(w).Version != 1 {
		t.Error("sealed, and the next start is that of the other slot")
	}
	w.leaves = false
	w.now = w.now.Add(2 * time.Hour)
	staysOn(t, w, func() bool { return stored(w).Version == 2 })
}

// TestSealsLater: a share in the clear is sealed once the machine has a TPM, and whatever
// is broken or cut meanwhile, the node comes back with its data, from the TPM.
func TestSealsLater(t *testing.T) {
	var share secret.String
	start := func() *world {
		w := encryptWorld(t)
		wantJoined(t, w)
		share, w.chip = stored(w).Disk, "a 1"
		return w
	}
	seals := func(w *world) {
		staysOn(t, w, func() bool { return stored(w).Version == 2 && w.files[nextName] == nil })
	}
	calm := start()
	calm.fault = func(_ int, name string) fault {
		if name == "rename "+nextName && strings.Contains(calm.text(storageName), share.Reveal()) {
			t.Error("the share was not written over")
		}
		if name == "put "+storageName || name == "remove "+nextName {
			t.Error("what was sealed lies there twice, and once is not written over later")
		}
		return none
	}
	begun := calm.calls // a TPM was asked for at first, too
	seals(calm)
	first, last := begun+slices.Index(calm.names[begun:], "seal"), slices.Index(calm.names, "rename "+nextName)
	if t.Failed() || diskShareOf(calm) != share || first < begun || last < first {
		t.Fatal("it was not sealed, or another share was")
	}
	for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
		for n := first + 1; n <= last+2; n++ {
			w, what := start(), ""
			w.fault = func(call int, name string) fault {
				if call != n {
					return none
				}
				what = name
				return f
			}
			finishes(t, w, seals)
			w.fault = nil
			if what == "" || stored(w).Version != 2 || diskShareOf(w) != share {
				t.Fatalf("%s, call %d (%s): %s", kind, n, what, w.text(storageName))
			}
			for name, e := range w.files {
				if strings.Contains(string(e.data), share.Reveal()) {
					t.Fatalf("%s, call %d (%s): %s has the share", kind, n, what, name)
				}
			}
			w.reboot()
			if s, _ := w.boot(nil); s.State != firstboot.Joined {
				t.Fatalf("%s, call %d (%s): %s", kind, n, what, s.Line())
			}
		}
	}
}

// finishes lets a node run until it has sealed, through power cuts.
func finishes(t *testing.T, w *world, seals func(*world)) {
	t.Helper()
	for range 5 {
		if !cutOff(func() { seals(w) }) {
			return
		}
		w.reboot()
	}
	t.Fatal("it never ends")
}

// cutOff says whether the power went while something was done.
func cutOff(do func()) (is bool) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case crashtest.PowerCut:
			is = true
		default:
			panic(p)
		}
	}()
	do()
	return false
}

// TestSealedFromTheStart: whatever is broken or cut while the first share is sealed, the
// node has a spare that opens it, and its TPM does.
func TestSealedFromTheStart(t *testing.T) {
	calm := sealedWorld(t)
	wantJoined(t, calm)
	first, last := slices.Index(calm.names, "seal"), slices.Index(calm.names, "put /var/lib/imagebuilder/vault/share.yaml")
	if first < 0 || last < first {
		t.Fatal("nothing was sealed")
	}
	for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
		for n := first + 1; n <= last+2; n++ {
			w := sealedWorld(t)
			w.fault = func(call int, _ string) fault { return map[bool]fault{true: f}[call == n] }
			finish(t, w)
			w.fault = nil
			staysOn(t, w, func() bool { return stored(w).Version == 2 })
			share := diskShareOf(w)
			w.reboot()
			wantJoined(t, w)
			w.reboot()
			w.chip = "b 1"
			waits(t, w, "tpm-other")
			agreed(t, w)
			wantJoined(t, w)
			if t.Failed() || diskShareOf(w) != share {
				t.Fatalf("%s, call %d (%s)", kind, n, calm.names[n-1])
			}
		}
	}
}

// TestSealedEveryCallFails: a TPM that breaks at any call of a locked node's start leaves
// it locked for a while, and never with another share.
func TestSealedEveryCallFails(t *testing.T) {
	calm := sealedWorld(t)
	wantJoined(t, calm)
	calm.reboot()
	from := calm.calls
	wantJoined(t, calm)
	for n := from + 1; n <= calm.calls; n++ {
		if !strings.HasPrefix(calm.names[n-1], "unseal") && !strings.Contains(calm.names[n-1], "storage") && !strings.Contains(calm.names[n-1], "ask") {
			continue
		}
		w := sealedWorld(t)
		wantJoined(t, w)
		w.reboot()
		w.fault = func(call int, _ string) fault { return map[bool]fault{true: before}[call == n] }
		if s, _ := w.boot(nil); s.State != firstboot.Joined {
			t.Errorf("call %d (%s): %s", n, calm.names[n-1], s.Line())
		}
	}
}

// TestSealedSharesAreSecrets: they are, like those in the clear.
func TestSealedSharesAreSecrets(t *testing.T) {
	w := sealedWorld(t)
	wantJoined(t, w)
	all := ""
	for _, s := range firstboot.Secrets(memFiles{w}) {
		all += s.Reveal() + "\n"
	}
	for _, r := range w.holders {
		for _, k := range r.Shares {
			if !strings.Contains(all, k.Share.Reveal()) {
				t.Errorf("%s is not among them", k.ID)
			}
		}
	}
	if !strings.Contains(all, stored(w).TPM.Rest.Reveal()) {
		t.Error("the rest is not among them")
	}
}

// TestMovedWithAnotherTPM: a node whose TPM refuses, and which is at another place, wants
// two words of its owner. The first is not forgotten over the second.
func TestMovedWithAnotherTPM(t *testing.T) {
	w := sealedWorld(t)
	wantJoined(t, w)
	w.reboot()
	w.chip, w.place = "b 1", netip.MustParseAddr("203.0.113.99")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, statuses, joined := map[string]bool{}, 0, false
	_ = firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) {
		if s.Problem != nil {
			seen[s.Problem.Code] = true
		}
		joined = s.State == firstboot.Joined
		if statuses++; joined || statuses > 60 {
			cancel()
		}
		w.now = w.now.Add(time.Second)
		for _, r := range w.holders { // all of them agree, as "unlock" has them do
			if r.Asking != nil && statuses%2 == 0 {
				_, _ = r.Approve(r.Asking.Since, w.now)
			}
		}
	})
	if !seen["tpm-other"] || !seen["share-place"] {
		t.Errorf("it asked for %v", seen)
	}
	if !joined {
		t.Error("locked for ever")
	}
}

// TestAnotherTPMGetsNothing without the owner's word: who put it there while the node is
// open would have the share.
func TestAnotherTPMGetsNothing(t *testing.T) {
	for _, chip := range []string{"a 2", "b 1"} {
		w := sealedWorld(t)
		wantJoined(t, w)
		before := w.text(storageName)
		w.chip = chip
		if code, summary := noticedAfter(w, time.Minute); code != "share-sealing" || w.text(storageName) != before {
			t.Errorf("%s: %q: %s", chip, code, summary)
		}
		w.reboot()
		w.boot(anyProblem)
		agreed(t, w)
		w.leaves = true // so it seals nothing yet, and firstboot is started anew meanwhile
		wantJoined(t, w)
		if w.text(storageName) != before {
			t.Errorf("%s: sealed before a trial", chip)
		}
		w.leaves = false
		if code, summary := noticedAfter(w, time.Minute); code != "" || w.text(storageName) == before {
			t.Errorf("%s, agreed: %q: %s", chip, code, summary)
		}
	}
}

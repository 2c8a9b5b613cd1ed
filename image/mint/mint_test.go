//go:build linux

package mint

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

func example(t *testing.T) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t *testing.T, f *fleet.Fleet, s *headscaletest.Server) *Mint {
	t.Helper()
	m, err := Open(f, s.Client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// hand makes a key and hands it over successfully.
func hand(t *testing.T, m *Mint, name string) *Key {
	t.Helper()
	k, err := m.Hand(t.Context(), name, time.Now(), func(*Key) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// valid lists the keys with which a node could still join.
func valid(t *testing.T, s *headscaletest.Server) (ids []headscale.ID) {
	t.Helper()
	all, err := s.Client.ListKeys(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if !k.Used && k.Expiration.After(time.Now()) {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// TestOneKeyPerNode: at a real Headscale a node's key is tagged and expiring.
// The node's next key expires it, another node's does not. The server accepts the fleet's
// policy.
func TestOneKeyPerNode(t *testing.T) {
	s, f, ctx := headscaletest.Start(t), example(t), context.Background()
	m := open(t, f, s)
	first := hand(t, m, "cabin-pi")
	if first.Replaced || first.Text.Empty() || first.Expires.Before(time.Now().AddDate(0, 0, 13)) {
		t.Errorf("%+v", first)
	}
	if want := []string{"tag:k3s-server", "tag:site-cabin"}; !slices.Equal(first.made.Tags, want) {
		t.Errorf("tags %v, want %v", first.made.Tags, want)
	}
	other := hand(t, m, "home-box")
	again := hand(t, m, "cabin-pi")
	if !again.Replaced {
		t.Errorf("%+v", again)
	}
	if got := valid(t, s); !slices.Contains(got, other.made.ID) || !slices.Contains(got, again.made.ID) || len(got) != 2 {
		t.Errorf("valid are %v", got)
	}
	if err := m.expire(cancelled(), again); err != nil {
		t.Error(err)
	}
	if got := valid(t, s); !slices.Equal(got, []headscale.ID{other.made.ID}) {
		t.Errorf("valid are %v, want %v", got, other.made.ID)
	}
	policy, err := f.Policy()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Client.PolicyCheck(ctx, string(policy)); err != nil {
		t.Errorf("the server refuses the fleet's policy: %v", err)
	}
}

// TestAFormerKeyIsGoodUntil the new one was handed over, also if that moment is interrupted.
// If a power cut leaves both keys, the next key expires both.
func TestAFormerKeyIsGoodUntil(t *testing.T) {
	s, f := headscaletest.Start(t), example(t)
	m := open(t, f, s)
	first := hand(t, m, "cabin-pi")
	full := errors.New("the disk is full")
	if k, err := m.Hand(t.Context(), "cabin-pi", time.Now(), func(*Key) error { return full }); k != nil || !errors.Is(err, full) {
		t.Errorf("%+v, %v", k, err)
	}
	if got := valid(t, s); !slices.Equal(got, []headscale.ID{first.made.ID}) {
		t.Errorf("after a failure valid are %v, want %v", got, first.made.ID)
	}
	cut, err := m.make(t.Context(), "cabin-pi", time.Now())
	if err != nil || len(valid(t, s)) != 2 {
		t.Fatalf("%+v, %v", cut, err)
	}
	m.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	last, err := open(t, f, s).Hand(ctx, "cabin-pi", time.Now(), func(*Key) error { interrupt(); return nil })
	if err != nil || !last.Replaced {
		t.Fatalf("%+v, %v", last, err)
	}
	if got := valid(t, s); !slices.Equal(got, []headscale.ID{last.made.ID}) {
		t.Errorf("valid are %v, want %v", got, last.made.ID)
	}
}

// TestAServerThatGoesAway while the card is written: the card is valid, the error says which
// key could not be expired, and the next key expires it.
func TestAServerThatGoesAway(t *testing.T) {
	s, f := headscaletest.Start(t), example(t)
	m := open(t, f, s)
	hand(t, m, "cabin-pi")
	k, err := m.Hand(t.Context(), "cabin-pi", time.Now(), func(*Key) error { s.Stop(); return nil })
	if k == nil || k.Replaced || err == nil || !strings.Contains(err.Error(), "cabin-pi has its new key, but an unused one") {
		t.Errorf("%+v, %v", k, err)
	}
	s.Run()
	if last := hand(t, m, "cabin-pi"); !last.Replaced || !slices.Equal(valid(t, s), []headscale.ID{last.made.ID}) {
		t.Errorf("valid are %v, want %v", valid(t, s), last.made.ID)
	}
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestBook: another run knows what was minted, and the book contains no key.
func TestBook(t *testing.T) {
	s, f := headscaletest.Start(t), example(t)
	m := open(t, f, s)
	first := hand(t, m, "cabin-pi")
	if _, err := Open(f, s.Client); err == nil || !strings.Contains(err.Error(), "let it finish") {
		t.Errorf("two at once: %v", err)
	}
	m.Close()
	name := filepath.Join(f.Dir(), "secrets", "keys.json")
	text, err := os.ReadFile(name)
	if err != nil || bytes.Contains(text, []byte(first.Text.Reveal())) || bytes.Contains(text, []byte("hskey")) {
		t.Errorf("the book holds the key, or nothing: %v", err)
	}
	if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if next := hand(t, open(t, f, s), "cabin-pi"); !next.Replaced {
		t.Errorf("%+v", next)
	}
}

// TestAHeadscaleThatBeginsAnew counts from 1 again: when a node gets a new card, another
// node's key with the number of the node's old one is not expired.
func TestAHeadscaleThatBeginsAnew(t *testing.T) {
	f, now := example(t), time.Now().Add(-time.Minute)
	for _, order := range [][]string{{"home-pi", "cabin-pi"}, {"cabin-pi", "home-pi"}} {
		s := headscaletest.Start(t)
		m := open(t, f, s)
		for _, name := range order {
			if k, err := m.Hand(t.Context(), name, now, func(*Key) error { return nil }); err != nil || k.Replaced {
				t.Fatalf("%s: %+v, %v", name, k, err)
			}
		}
		if got := valid(t, s); len(got) != 2 {
			t.Errorf("%v: valid are %v", order, got)
		}
		m.Close()
		now = time.Now()
	}
}

// TestUnwritableBook: a key that cannot be recorded is not handed out.
func TestUnwritableBook(t *testing.T) {
	s, f := headscaletest.Start(t), example(t)
	m := open(t, f, s)
	m.book.name = filepath.Join(f.Dir(), "no", "such", "directory")
	if k, err := m.Hand(t.Context(), "cabin-pi", time.Now(), func(*Key) error { return nil }); err == nil {
		t.Errorf("got %+v", k)
	}
	if got := valid(t, s); len(got) > 0 {
		t.Errorf("still valid: %v", got)
	}
}

func TestDamagedBook(t *testing.T) {
	for text, want := range map[string]string{"{": "keys.json: ", `{"version":2}`: "is of version 2"} {
		f := example(t)
		dir := filepath.Join(f.Dir(), "secrets")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the lock is gone after a refusal
			if _, err := Open(f, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v", text, err)
			}
		}
	}
}

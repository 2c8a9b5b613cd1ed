//go:build linux

package holder

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// tailnet knows one peer, wherever it comes from.
type tailnet struct {
	peer, self Peer
	where      netip.Addr
	err        error
}

func (t *tailnet) Who(context.Context, netip.Addr) (peer, self Peer, err error) {
	return t.peer, t.self, t.err
}

func (t *tailnet) Where(context.Context, netip.Addr) netip.Addr { return t.where }

var (
	home, away = netip.MustParseAddr("198.51.100.4"), netip.MustParseAddr("203.0.113.7")
	local      = netip.MustParseAddr("127.0.0.1")
)

func newTailnet() *tailnet {
	return &tailnet{
		peer: Peer{Member: vault.Member{Node: "cabin-pi", ID: "7"}, Tags: []string{"tag:k3s-server"}},
		self: Peer{Member: vault.Member{Node: "vps", ID: "1"}, Tags: []string{"tag:k3s-control"}}, where: home,
	}
}

func newBook(t *testing.T) Book {
	t.Helper()
	b := Book{Dir: filepath.Join(t.TempDir(), "shares"), Ready: filepath.Join(t.TempDir(), "hold")}
	if err := os.WriteFile(b.Ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// start serves a book on the loopback.
func start(t *testing.T, b Book, tail Tailnet) (way Way, told *[]string) {
	t.Helper()
	told = new([]string)
	s := httptest.NewServer(Handler(b, tail, func(s string) { *told = append(*told, s) }))
	t.Cleanup(s.Close)
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	return Way{Port: at.Port()}, told
}

func shares(t *testing.T) (d vault.Deposit, q vault.Question) {
	t.Helper()
	peer, err := vault.NewShare(strings.NewReader(strings.Repeat("p", vault.ShareSize)))
	if err != nil {
		t.Fatal(err)
	}
	disk, err := vault.NewShare(strings.NewReader(strings.Repeat("d", vault.ShareSize)))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := vault.Proof(disk)
	if err != nil {
		t.Fatal(err)
	}
	return vault.Deposit{Share: peer, Proof: vault.Digest(proof)}, vault.Question{ID: vault.Digest(peer), Proof: proof}
}

func refusedFor(err error) vault.Why {
	var no *vault.Refusal
	if errors.As(err, &no) {
		return no.Why
	}
	return ""
}

// TestEveryReasonArrives: the node that asks understands every reason of a holder's refusal.
func TestEveryReasonArrives(t *testing.T) {
	var why vault.Why
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(answerBody{Why: why})
	}))
	t.Cleanup(s.Close)
	way := Way{Port: netip.MustParseAddrPort(s.Listener.Addr().String()).Port()}
	_, q := shares(t)
	for _, why = range append(vault.Whys(), "a reason of tomorrow") {
		_, err := way.Ask(t.Context(), local, q)
		if got := refusedFor(err); (got == why) != (why != "a reason of tomorrow") {
			t.Errorf("%s arrives as %q: %v", why, got, err)
		}
	}
}

// TestFromDepositToRevocation goes over a connection, with a book that another process changes too.
func TestFromDepositToRevocation(t *testing.T) {
	b, tail := newBook(t), newTailnet()
	way, told := start(t, b, tail)
	d, q := shares(t)
	ask := func() (secret.String, error) { return way.Ask(t.Context(), local, q) }
	if _, err := ask(); refusedFor(err) != vault.Unknown {
		t.Errorf("before it was brought: %v", err)
	}
	if place, err := way.Deposit(t.Context(), local, d); err != nil || place.Addr() != home {
		t.Fatal(place, err)
	}
	if s, err := ask(); err != nil || s != d.Share {
		t.Errorf("%v", err)
	}
	tail.where = away
	if _, err := ask(); refusedFor(err) != vault.Place {
		t.Errorf("from away: %v", err)
	}
	asks, err := b.Asking("cabin-pi", time.Now())
	if err != nil || asks.Place.Addr() != away {
		t.Fatalf("%v, %v", asks, err)
	}
	if who, err := b.Approve("cabin-pi", asks.Since, time.Now()); err != nil || who.Why != vault.Place {
		t.Errorf("%v, %v", who, err)
	}
	if s, err := ask(); err != nil || s != d.Share {
		t.Errorf("the owner agreed: %v", err)
	}
	fi, err := os.Stat(b.file("cabin-pi"))
	if err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if err := b.Revoke("cabin-pi", []string{"7"}, false); err != nil {
		t.Fatal(err)
	}
	tail.where = home
	for range 2 {
		if _, err := ask(); refusedFor(err) != vault.Revoked {
			t.Errorf("revoked: %v", err)
		}
		if _, err := way.Deposit(t.Context(), local, d); refusedFor(err) != vault.Revoked {
			t.Errorf("revoked, and brings it again: %v", err)
		}
	}
	text, err := os.ReadFile(b.file("cabin-pi"))
	if err != nil || strings.Contains(string(text), d.Share.Reveal()) {
		t.Errorf("the share is still there: %v", err)
	}
	if all := strings.Join(*told, "\n"); strings.Contains(all, d.Share.Reveal()) || strings.Contains(all, q.Proof.Reveal()) || !strings.Contains(all, "gave cabin-pi (7), which is at 198.51.100.4") {
		t.Error(all)
	}
}

// TestWhoAskedOnce: a node that asked once does not wait any more. It has its share from elsewhere,
// or is off, and an approval would let in whoever comes later.
func TestWhoAskedOnce(t *testing.T) {
	b, tail := newBook(t), newTailnet()
	way, _ := start(t, b, tail)
	d, q := shares(t)
	if _, err := way.Deposit(t.Context(), local, d); err != nil {
		t.Fatal(err)
	}
	tail.where = away
	waits := func(want error) *vault.Asking {
		t.Helper()
		who, err := b.Asking("cabin-pi", time.Now())
		if !errors.Is(err, want) {
			t.Fatalf("%v, %v, want %v", who, err, want)
		}
		return who
	}
	waits(vault.ErrNobody)
	for range 2 { // the second time after it had stopped waiting
		if _, err := way.Ask(t.Context(), local, q); refusedFor(err) != vault.Place {
			t.Fatal(err)
		}
		since := waits(nil).Since
		long := time.Now().Add(-waitTime)
		if err := os.Chtimes(b.mark("cabin-pi"), long, long); err != nil {
			t.Fatal(err)
		}
		waits(vault.ErrNobody)
		if _, err := b.Approve("cabin-pi", since, time.Now()); !errors.Is(err, vault.ErrNobody) {
			t.Errorf("agreed to who has gone: %v", err)
		}
	}
}

// TestOnlyNodes: devices without tags get no answer, nor do strangers, nor this node's own
// pods.
func TestOnlyNodes(t *testing.T) {
	b, tail := newBook(t), newTailnet()
	way, _ := start(t, b, tail)
	d, _ := shares(t)
	refused := func(what string) {
		t.Helper()
		if _, err := way.Deposit(t.Context(), local, d); err == nil || !strings.Contains(err.Error(), "only nodes") {
			t.Errorf("%s: %v", what, err)
		}
	}
	tail.peer.Tags = nil
	tail.peer.Owner = 5
	tail.self.Owner = 5
	refused("a laptop")
	tail.self.Tags = nil
	if _, err := way.Deposit(t.Context(), local, d); err != nil {
		t.Errorf("a tailnet without tags: %v", err)
	}
	tail.peer.Owner = 6
	refused("somebody else's")
	*tail = *newTailnet()
	tail.peer.ID = "1"
	refused("itself")
	tail.peer.ID = ""
	refused("nobody")
	*tail = *newTailnet()
	tail.err = errors.New("no such peer")
	refused("a stranger")
	*tail = *newTailnet()
	tail.peer.Node = "../etc"
	if _, err := way.Deposit(t.Context(), local, d); err == nil || !strings.Contains(err.Error(), `"../etc"`) {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
	if _, err := os.Stat(b.file("cabin-pi")); err != nil {
		t.Error(err)
	}
}

// TestNotReady: a locked holder neither answers nor writes, and a damaged record does not count as
// an empty one.
func TestNotReady(t *testing.T) {
	b, tail := newBook(t), newTailnet()
	way, _ := start(t, b, tail)
	d, q := shares(t)
	if err := os.Remove(b.Ready); err != nil {
		t.Fatal(err)
	}
	if _, err := way.Deposit(t.Context(), local, d); err == nil || !strings.Contains(err.Error(), "keeps no shares") {
		t.Error(err)
	}
	if err := b.Revoke("cabin-pi", nil, false); !errors.Is(err, errNotReady) {
		t.Error(err)
	}
	if _, err := os.Stat(b.Dir); err == nil {
		t.Error("it wrote")
	}
	b = newBook(t)
	if err := errors.Join(os.Mkdir(b.Dir, 0o700), os.WriteFile(b.file("cabin-pi"), []byte("revoked: [7\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	way, _ = start(t, b, tail)
	if _, err := way.Deposit(t.Context(), local, d); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	if _, err := way.Ask(t.Context(), local, q); err == nil {
		t.Error("asked of a damaged record")
	}
}

// TestServe: Serve ends when the file Ready is removed.
func TestServe(t *testing.T) {
	b := newBook(t)
	l, err := Way{}.Listen(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- Serve(t.Context(), l, Way{}, b, newTailnet(), func(string) {}) }()
	resp, err := http.Post("http://"+l.Addr().String()+askPath, "", strings.NewReader("no JSON"))
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%v, %v", resp, err)
	}
	if err := os.Remove(b.Ready); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// TestWay: a connection that is bound to a missing device takes no other way.
func TestWay(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	d, _ := shares(t)
	if _, err := (Way{at.Port(), "no-such-port"}).Deposit(t.Context(), local, d); err == nil || strings.Contains(err.Error(), "404") {
		t.Errorf("it went: %v", err)
	}
	if _, err := (Way{Port: at.Port()}).Deposit(t.Context(), local, d); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what is no holder: %v", err)
	}
	torn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"share":"very-secret`) }))
	defer torn.Close()
	at = netip.MustParseAddrPort(torn.Listener.Addr().String())
	if _, err := (Way{Port: at.Port()}).Deposit(t.Context(), local, d); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("half an answer may have the share: %v", err)
	}
	if _, err := (Way{0, "no-such-port"}).Listen(t.Context(), local); err == nil {
		t.Error("it listens")
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at = netip.MustParseAddrPort(gone.Addr().String())
	gone.Close()
	if _, err := (Way{Port: at.Port()}).Deposit(t.Context(), local, d); err == nil || strings.Contains(err.Error(), "127.0.0.1") {
		t.Error(err)
	}
}

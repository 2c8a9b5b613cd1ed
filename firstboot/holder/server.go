//go:build linux

package holder

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/netutil"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// Peer is a member, as the tailnet describes it.
type Peer struct {
	vault.Member
	Tags  []string
	Owner int64 // the user whose node it is; meaningless if it has tags
}

// Tailnet is what this node's tailscaled knows.
type Tailnet interface {
	// Who returns the member with an address in the tailnet, and this node.
	Who(ctx context.Context, at netip.Addr) (peer, self Peer, err error)
	// Where returns the address outside the tailnet from which that member answers just now; the
	// zero Addr if it answers only through a relay.
	Where(ctx context.Context, at netip.Addr) netip.Addr
}

// Limits on what members of the tailnet can take of this node's resources.
const (
	mostConnections = 16
	mostHeader      = 4 << 10
	mostBody        = 4 << 10
	patience        = 15 * time.Second
)

// The two requests, and the answer.
type (
	depositBody struct{ Share, Proof string }
	askBody     struct{ ID, Proof string }
	answerBody  struct {
		Share string       `json:",omitempty"`
		Why   vault.Why    `json:",omitempty"`
		Place netip.Prefix `json:",omitzero"`
		Fault string       `json:",omitempty"`
	}
)

const (
	depositPath = "/v1/deposit"
	askPath     = "/v1/ask"
)

// Serve answers on l, which w has opened, until ctx ends, or the book is not ready any more, or w's
// device has been replaced: a socket that is bound to a device that is gone receives nothing. tell
// receives what an owner should be able to look up later: who got a share, and who did not.
func Serve(ctx context.Context, l net.Listener, w Way, b Book, t Tailnet, tell func(string)) error {
	s := &http.Server{
		Handler:           Handler(b, t, tell),
		ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: 4 * patience, IdleTimeout: patience, MaxHeaderBytes: mostHeader,
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	device := w.index()
	go func() {
		await(ctx, func() bool {
			_, err := os.Stat(b.Ready)
			return err == nil && w.index() == device
		})
		s.Close()
	}()
	if err := s.Serve(netutil.LimitListener(l, mostConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// await returns when still returns false, or ctx ends.
func await(ctx context.Context, still func() bool) {
	for still() {
		if ctxio.Sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// index is the kernel's number of the device, 0 if there is none.
func (w Way) index() int {
	i, err := net.InterfaceByName(w.Device)
	if err != nil {
		return 0
	}
	return i.Index
}

// Handler answers requests from the book.
func Handler(b Book, t Tailnet, tell func(string)) http.Handler {
	s := &server{b, t, tell}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+depositPath, s.deposit)
	mux.HandleFunc("POST "+askPath, s.ask)
	return mux
}

type server struct {
	book    Book
	tailnet Tailnet
	tell    func(string)
}

func (s *server) deposit(w http.ResponseWriter, r *http.Request) {
	var body depositBody
	peer, at, ok := s.open(w, r, &body)
	if !ok {
		return
	}
	d := vault.Deposit{Share: secret.String(body.Share), Proof: body.Proof}
	err := s.book.change(peer.Node, func(r *vault.Record) (bool, error) { return r.Deposit(peer.Member, at, d) })
	s.answer(w, peer, answerBody{Place: vault.PlaceOf(at)}, err)
}

func (s *server) ask(w http.ResponseWriter, r *http.Request) {
	var body askBody
	peer, at, ok := s.open(w, r, &body)
	if !ok {
		return
	}
	var share secret.String
	q := vault.Question{ID: body.ID, Proof: secret.String(body.Proof)}
	err := s.book.change(peer.Node, func(r *vault.Record) (changed bool, err error) {
		share, changed, err = r.Ask(peer.Member, at, q, time.Now())
		return changed, err
	})
	if no := (*vault.Refusal)(nil); errors.As(err, &no) && no.Waits() {
		if fault := s.book.asked(peer.Node, time.Now()); fault != nil {
			err = fault // or the owner would not be shown who waits
		}
	}
	if err == nil {
		s.tell("gave " + peer.Node + " (" + peer.ID + "), which is at " + at.String() + ", its share")
	}
	s.answer(w, peer, answerBody{Share: share.Reveal()}, err)
}

// open reads a request into into, and finds out which member sent it. It answers the request itself
// if ok is false.
func (s *server) open(w http.ResponseWriter, r *http.Request, into any) (peer Peer, at netip.Addr, ok bool) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, "who is that?", http.StatusForbidden)
		return peer, at, false
	}
	peer, self, err := s.tailnet.Who(r.Context(), from.Addr().Unmap())
	if err != nil || !admits(self, peer) {
		http.Error(w, "only nodes of this fleet are answered", http.StatusForbidden)
		return peer, at, false
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, mostBody))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		http.Error(w, "that is no question", http.StatusBadRequest)
		return peer, at, false
	}
	return peer, s.tailnet.Where(r.Context(), from.Addr().Unmap()), true
}

// admits reports whether shares are kept for a member. Nodes have tags, which only the tailnet's
// administrator hands out: if this node has tags, every tagged member is admitted. If it has none,
// the untagged devices of its own user are.
func admits(self, peer Peer) bool {
	if peer.ID == self.ID || peer.ID == "" || peer.Node == "" {
		return false
	}
	if len(self.Tags) == 0 {
		return len(peer.Tags) == 0 && peer.Owner != 0 && peer.Owner == self.Owner
	}
	return len(peer.Tags) > 0
}

func (s *server) answer(w http.ResponseWriter, peer Peer, a answerBody, err error) {
	status := http.StatusOK
	var no *vault.Refusal
	switch {
	case errors.As(err, &no):
		a, status = answerBody{Why: no.Why, Place: no.Place}, http.StatusForbidden
		s.tell("refused " + peer.Node + " (" + peer.ID + "): " + no.Error())
	case err != nil:
		a, status = answerBody{Fault: contract.PlainLine(err.Error())}, http.StatusServiceUnavailable
		s.tell(peer.Node + " (" + peer.ID + "): " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the client has gone
}

// Way is how to reach other members: only through the tailnet's network device. While tailscaled is
// down, the tailnet's addresses would lead to whoever claims them.
type Way struct {
	Port uint16
	// Device is the network device, "" for any.
	Device string
}

// TailnetWay is the way that nodes use.
var TailnetWay = Way{contract.SharesPort, "tailscale0"}

// Listen opens the port at an address of this node.
func (w Way) Listen(ctx context.Context, at netip.Addr) (net.Listener, error) {
	lc := net.ListenConfig{Control: w.bind}
	return lc.Listen(ctx, "tcp", netip.AddrPortFrom(at, w.Port).String())
}

// known returns the refusal in an answer, nil if there is none.
func (a answerBody) known() *vault.Refusal {
	if !slices.Contains(vault.Whys(), a.Why) {
		return nil
	}
	return &vault.Refusal{Why: a.Why, Place: a.Place}
}

package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// While a node is open it keeps its holders up to date: those that were away get the share,
// and all learn where the node is, as a home connection gets another address now and then.
// A node that no holder hears of any more stays locked after its next start; it says so
// before.

// holdingsFile is what an open node knows about its holders.
const holdingsFile = runDir + "/holders.json"

// Holding is what the node knows about one holder of its share.
type Holding struct {
	Holder string    `json:"holder"`
	Took   time.Time `json:"took,omitzero"`   // when it last took the share
	Fault  string    `json:"fault,omitempty"` // why it has not taken it since

	seen  bool // whether it sees where this node is
	err   error
	again time.Time // when it is told next
}

func (h *Holding) took() bool { return h.err == nil && !h.Took.IsZero() }
func (h *Holding) sees() bool { return h.took() && h.seen }

// How often a holder is told that this node's data are open, and where the node is; and how
// soon again after that failed.
const (
	renewPause = time.Hour
	missPause  = 5 * time.Minute
)

// LateShare is for how long no holder may have taken the share before its owner should
// worry.
const LateShare = 2 * time.Hour

// The next pass must not wait for this. A holder that reaches this node only through a
// relay tries for ten seconds to see where it is (host.Where), for the share and once more
// for the spare.
const (
	tellTime = 25 * time.Second // for one holder
	tellMore = 5 * time.Second  // after this long, the other holders wait for the next pass
)

// keeping is what a runner does for other nodes, and for its own next start, whatever its
// steps say: also a node whose cluster is down for a week gets another address.
type keeping struct {
	holdings      []*Holding
	since         time.Time // when the holders were first told
	fault, unseen *Problem
	next          string // the node that is reached first at the next look
}

func (k *keeping) keep(ctx context.Context, m *machine) {
	k.reach(ctx, m)
	_ = m.heedVoters(ctx) // what fails is repeated at the next look
	k.shares(ctx, m)
}

// shares tells the holders that are due. What fails is repeated, and reported before it
// matters.
func (k *keeping) shares(ctx context.Context, m *machine) {
	s, err := m.readStorage()
	if err != nil || s == nil { // the step storage reports it
		return
	}
	now := m.Clock.Now()
	due := k.due(m.holders(s).Holders, now)
	if open, err := m.isOpen(vaultDir); err != nil || !open || len(due) == 0 {
		return
	}
	peer := m.ownPeerShare(s)
	if peer.Empty() {
		k.fault = problem("share-unread", peerShare)
		return
	}
	if k.since.IsZero() {
		k.since = now
	}
	sealing := k.renew(ctx, m, s, peer, due)
	k.judgeHoldings(m, sealing)
	text, err := json.Marshal(k.holdings)
	if err == nil {
		_ = m.write(file{path: holdingsFile, data: append(text, '\n'), mode: 0o600}) // the doctor sees how old it is
	}
}

// due returns the holders that are to be told now, beginning with those that have waited
// longest.
func (k *keeping) due(names []string, now time.Time) (due []*Holding) {
	var all []*Holding
	for _, name := range names {
		at := slices.IndexFunc(k.holdings, func(h *Holding) bool { return h.Holder == name })
		h := &Holding{Holder: name}
		if at >= 0 {
			h = k.holdings[at]
		}
		all = append(all, h)
		if !now.Before(h.again) {
			due = append(due, h)
		}
	}
	k.holdings = all
	slices.SortStableFunc(due, func(a, b *Holding) int { return a.again.Compare(b.again) })
	return due
}

// renew tells the holders that are due. It also has the TPM seal the disk's share, if it
// can and has not yet, once a holder has the spare. The error is about the disk's share
// only.
func (k *keeping) renew(ctx context.Context, m *machine, s *storage, peer secret.String, due []*Holding) error {
	settling := m.settleStorage()
	next, shares, sealing := m.resealed(ctx, s, peer)
	took := k.tell(ctx, m, next, shares, due)
	if settling == nil && sealing == nil && next != s && took {
		sealing = m.replaceStorage(next, shares)
	}
	return errors.Join(settling, sealing)
}

// tell tells each of the holders, and reports whether one of them took all deposits.
func (k *keeping) tell(ctx context.Context, m *machine, s *storage, shares shares, due []*Holding) (took bool) {
	all, err := s.deposits(shares)
	st, down := m.upStatus(ctx)
	err = errors.Join(err, down)
	begun := m.Clock.Now()
	for _, h := range due {
		if m.Clock.Now().Sub(begun) >= tellMore {
			break
		}
		h.seen, h.err = false, err
		if err == nil {
			h.seen, h.err = m.tell(ctx, st, s, h.Holder, all)
		}
		now := m.Clock.Now()
		if h.again, h.Fault = now.Add(missPause), ""; h.err != nil {
			h.Fault = h.err.Error()
			continue
		}
		took, h.Took, h.again = true, now.UTC(), now.Add(renewPause)
	}
	return took
}

// tell tells one holder, and reports whether it sees where this node is.
func (m *machine) tell(ctx context.Context, st TailnetStatus, s *storage, name string, all []vault.Deposit) (seen bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	p, err := holder(st, name, m.holderTags(st, s))
	if err != nil {
		return false, err
	}
	return m.bringDeposits(ctx, p, all)
}

// judgeHoldings looks for what would keep the data locked after the next start.
func (k *keeping) judgeHoldings(m *machine, sealing error) {
	k.fault, k.unseen = k.untold(m), nil
	if k.fault == nil && sealing != nil {
		k.fault = problem("share-sealing", sealing.Error(), m.cfg.Node).because(sealing)
	}
	if slices.ContainsFunc(k.holdings, (*Holding).took) && !slices.ContainsFunc(k.holdings, (*Holding).sees) {
		k.unseen = problem("share-unseen", m.cfg.Node)
	}
}

// untold returns nil if a holder has taken the share lately and none refuses to keep it.
func (k *keeping) untold(m *machine) *Problem {
	var refused, all []error
	last := k.since
	for _, h := range k.holdings {
		if h.Took.After(last) {
			last = h.Took
		}
		if h.err == nil {
			continue
		}
		named := fmt.Errorf("%s: %w", h.Holder, h.err)
		all = append(all, named)
		var no *vault.Refusal
		if errors.As(h.err, &no) && !no.Waits() {
			refused = append(refused, named)
		}
	}
	switch {
	case len(refused) > 0:
		return problem("share-refused", sentence(refused)).because(errors.Join(refused...))
	case m.Clock.Now().Sub(last) > LateShare:
		return problem("share-untold", sentence(all)).because(errors.Join(all...))
	}
	return nil
}

// ReadHoldings returns what the node knows about its holders, none if it has told nobody
// since it was started.
func ReadHoldings(files Files) (all []Holding, err error) {
	h := &Host{Files: files}
	text, err := h.read(holdingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", holdingsFile, err)
	}
	return all, nil
}

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

// Holders are kept up to date while a node is open: those that were away get the share,
// and all learn the place, as a line at home has another address now and then. A node of
// which none hears any more stays locked after its next start: that is said before.

// holdingsFile is what an open node knows of its holders.
const holdingsFile = runDir + "/holders.json"

// Holding is one who keeps this node's share.
type Holding struct {
	Holder string    `json:"holder"`
	Took   time.Time `json:"took,omitzero"`   // when it last took the share
	Fault  string    `json:"fault,omitempty"` // why it did not since

	seen  bool // it sees where this node is
	err   error
	again time.Time // when it is told next
}

func (h *Holding) took() bool { return h.err == nil && !h.Took.IsZero() }
func (h *Holding) sees() bool { return h.took() && h.seen }

// How often a holder is told that this node has its data open, and where it is then; and
// when it could not be.
const (
	renewPause = time.Hour
	missPause  = 5 * time.Minute
)

// LateShare is when a share that no holder took should worry its owner.
const LateShare = 2 * time.Hour

// The next pass is not to wait. Where only a relay leads there, a holder looks for ten seconds
// where this node is (host.Where), for the share and once more for the spare.
const (
	tellTime = 25 * time.Second // for one holder
	tellMore = 5 * time.Second  // after this long the others wait for the next pass
)

// keeping is what a runner does for others, and for its own next start, whatever its steps
// say: a node whose cluster is down for a week gets another address, too.
type keeping struct {
	holdings      []*Holding
	since         time.Time // the first try
	fault, unseen *Problem
	next          string // who is reached first, at the next look
}

func (k *keeping) keep(ctx context.Context, m *machine) {
	k.reach(ctx, m)
	_ = m.heedVoters(ctx) // what fails is done at the next look
	k.shares(ctx, m)
}

// shares tells the holders that are due. What fails is tried again, and told in time.
func (k *keeping) shares(ctx context.Context, m *machine) {
	s, err := m.readStorage()
	if err != nil || s == nil { // the step storage tells
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
	k.judge(m, sealing)
	text, err := json.Marshal(k.holdings)
	if err == nil {
		_ = m.write(file{path: holdingsFile, data: append(text, '\n'), mode: 0o600}) // the doctor sees how old it is
	}
}

// due are the holders that are to be told, those first that wait longest.
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

// renew also has the TPM keep the disk's share, where it can and does not yet, once a
// holder has the spare. The error is of that share alone.
func (k *keeping) renew(ctx context.Context, m *machine, s *storage, peer secret.String, due []*Holding) error {
	settling := m.settleStorage()
	next, shares, sealing := m.resealed(ctx, s, peer)
	took := k.tell(ctx, m, next, shares, due)
	if settling == nil && sealing == nil && next != s && took {
		sealing = m.replaceStorage(next, shares)
	}
	return errors.Join(settling, sealing)
}

// tell says whether one of them took what there is.
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

// tell tells one.
func (m *machine) tell(ctx context.Context, st TailnetStatus, s *storage, name string, all []vault.Deposit) (seen bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	p, err := holder(st, name, m.holderTags(st, s))
	if err != nil {
		return false, err
	}
	return m.bringDeposits(ctx, p, all)
}

// judge finds what would keep the data locked after the next start.
func (k *keeping) judge(m *machine, sealing error) {
	k.fault, k.unseen = k.untold(m), nil
	if k.fault == nil && sealing != nil {
		k.fault = problem("share-sealing", sealing.Error(), m.cfg.Node).because(sealing)
	}
	if slices.ContainsFunc(k.holdings, (*Holding).took) && !slices.ContainsFunc(k.holdings, (*Holding).sees) {
		k.unseen = problem("share-unseen", m.cfg.Node)
	}
}

// untold is nil where some holder has the share, and none refuses it.
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

// ReadHoldings returns what the node knows of its holders, none where it has told nobody
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

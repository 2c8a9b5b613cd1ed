package firstboot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// The holders of the second share: who they are, and what they answer.

// holderTags are the tags of which a holder must have one.
func (m *machine) holderTags(st TailnetStatus, s *storage) []string {
	if named := m.holders(s).HolderTags; len(named) > 0 {
		return named
	}
	return m.serverTags(st)
}

// holder finds the peer of a holder's name. As with servers, a name alone proves nothing.
func holder(st TailnetStatus, name string, want []string) (*Peer, error) {
	switch p, stranger, twice := pick(st, name, want); {
	case twice:
		return nil, fmt.Errorf("two of this tailnet are called %s: one of them is to be deleted or renamed in Headscale", name)
	case p != nil && len(p.IPs) > 0:
		return p, nil
	case stranger:
		return nil, fmt.Errorf("the %s of this tailnet lacks the tag of one who keeps shares", name)
	}
	return nil, fmt.Errorf("%s is not in the tailnet", name)
}

// tellHolders calls do for each holder. faults are the errors of those with which that
// failed, in the holders' order.
func (m *machine) tellHolders(ctx context.Context, s *storage, do func(*Peer) error) (faults []error, err error) {
	st, err := m.upStatus(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range m.holders(s).Holders {
		p, err := holder(st, name, m.holderTags(st, s))
		if err == nil {
			err = do(p)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	return faults, nil
}

// deposit gives the share, and the spare if there is one, to all holders that can be
// reached. The error is a *Problem if a holder says that this node is revoked.
func (m *machine) deposit(ctx context.Context, s *storage, k shares) (faults []error, err error) {
	all, err := s.deposits(k)
	if err != nil {
		return nil, err
	}
	faults, err = m.tellHolders(ctx, s, func(p *Peer) error {
		_, err := m.bringDeposits(ctx, p, all)
		return err
	})
	if err != nil {
		return nil, err
	}
	return faults, m.refused(faults, false)
}

// bringDeposits gives all deposits to one holder, and reports whether it sees where this
// node is.
func (m *machine) bringDeposits(ctx context.Context, p *Peer, all []vault.Deposit) (seen bool, err error) {
	for _, d := range all {
		place, err := m.Shares.Deposit(ctx, v4First(p.IPs), d)
		if err != nil {
			return false, err
		}
		seen = seen || place.IsValid()
	}
	return seen, nil
}

func (s *storage) deposits(k shares) ([]vault.Deposit, error) {
	if s.TPM == nil {
		proof, err := vault.Proof(s.Disk)
		return []vault.Deposit{{Share: k.peer, Proof: vault.Digest(proof)}}, err
	}
	all := []vault.Deposit{{Share: k.peer, Proof: s.TPM.Proof}}
	if k.spare.Empty() {
		return all, nil
	}
	proof, err := vault.Proof(s.TPM.Rest)
	return append(all, vault.Deposit{Share: k.spare, Proof: vault.OnWord(vault.Digest(proof))}), err
}

var errOther = errors.New("what it gave is another share")

// askHolders asks the holders for the peers' share.
func (m *machine) askHolders(ctx context.Context, s *storage, disk secret.String) (secret.String, error) {
	share, faults, err := m.askEach(ctx, s, s.ID, disk)
	if err != nil || !share.Empty() {
		return share, err
	}
	if err := m.refused(faults, true); err != nil {
		return "", err
	}
	return "", problem("share-nobody", sentence(faults)).because(errors.Join(faults...))
}

// askEach asks one holder after the other for a share, until one gives it. It shows them
// the proof of a share that is on the disk.
func (m *machine) askEach(ctx context.Context, s *storage, id string, shown secret.String) (share secret.String, faults []error, err error) {
	proof, err := vault.Proof(shown)
	if err != nil {
		return "", nil, problem("storage-lost", storageFile).because(err)
	}
	faults, err = m.tellHolders(ctx, s, func(p *Peer) error {
		if !share.Empty() {
			return nil
		}
		given, err := m.Shares.Ask(ctx, v4First(p.IPs), vault.Question{ID: id, Proof: proof})
		if err == nil && vault.Digest(given) != id {
			err = errOther
		}
		if err == nil {
			share = given
		}
		return err
	})
	return share, faults, err
}

// shareWaits are the problems of a node that waits for its owner's word, by a holder's
// reason. vault.Sealed is not among them: holders say so of the spare only, which askSpare
// asks for.
var shareWaits = map[vault.Why]string{vault.Place: "share-place", vault.Relayed: "share-relayed", vault.Joined: "share-joined"}

// refused returns the problem of a node that is revoked or, if asked, that waits for its
// owner's word; nil if no holder says so. One holder that knows of a revocation is enough.
func (m *machine) refused(faults []error, asked bool) error {
	var waits *vault.Refusal
	for _, err := range faults {
		var no *vault.Refusal
		switch {
		case !errors.As(err, &no):
		case no.Why == vault.Revoked:
			return problem("share-revoked").because(err)
		case shareWaits[no.Why] != "" && waits == nil:
			waits = no
		}
	}
	if waits == nil || !asked {
		return nil
	}
	args := []any{m.cfg.Node}
	if waits.Why == vault.Place {
		args = []any{waits.Place.Addr().String(), m.cfg.Node}
	}
	return problem(shareWaits[waits.Why], args...).because(errors.Join(faults...))
}

func sentence(faults []error) string {
	var all []string
	for _, err := range faults {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

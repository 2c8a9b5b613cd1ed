// Package shares passes on the owner's decision to the nodes that keep shares of another
// node's key: to unlock a node that waits, or to refuse it for ever.
//
// It speaks over ssh, as package inquiry does. It unlocks only what the owner was shown, and
// trusts nothing of a holder's answer but its format.
package shares

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// Answer is one holder's answer.
type Answer struct {
	Holder string `json:"holder"`
	// Waits says that the node waits at this holder: Place is its network, Why is why it got
	// no share, Since is since when it waits.
	Waits bool         `json:"waits"`
	Place netip.Prefix `json:"place,omitzero"`
	Why   string       `json:"why,omitempty"`
	Since time.Time    `json:"since,omitzero"`
	// Fault is why there is no such answer, "" if the node waits; Silent says that the
	// holder could not be asked.
	Fault  string `json:"fault,omitempty"`
	Silent bool   `json:"silent,omitempty"`
}

// Holders are the holders of one node.
type Holders struct {
	node     string
	names    []string
	subjects map[string]inquiry.Subject
	tell     func(ctx context.Context, s inquiry.Subject, command string, input io.Reader) ([]byte, error)
}

// Of finds the holders of a node in rows, Headscale's view. The machine that runs Headscale
// is found even if rows is nil, as Headscale may not answer.
func Of(f *fleet.Fleet, rows []roster.Row, name string) (*Holders, error) {
	if _, err := f.Find(name); err != nil {
		return nil, err
	}
	h := &Holders{node: name, names: f.Holders(name), subjects: map[string]inquiry.Subject{}}
	if c := f.Control(); c != "" {
		h.subjects[c] = inquiry.Subject{Node: c} // by its public name
	}
	h.tell = func(ctx context.Context, s inquiry.Subject, command string, input io.Reader) ([]byte, error) {
		return inquiry.Tell(ctx, f, s, command, input)
	}
	for _, r := range rows {
		if r.Member() {
			h.subjects[r.Node] = r.Subject()
		}
	}
	return h, nil
}

const tellTime = 30 * time.Second

// ask runs a command on a holder.
func (h *Holders) ask(ctx context.Context, holder, command string) ([]byte, error) {
	s, ok := h.subjects[holder]
	if !ok {
		return nil, &inquiry.SilentError{Why: "it has no address in the tailnet"}
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	out, err := h.tell(ctx, s, command, nil)
	if err != nil {
		return nil, inquiry.Plain(err)
	}
	return out, nil
}

// reasons are the holders' reason codes for letting a node wait, in words.
var reasons = map[vault.Why]string{
	vault.Place: "it never was there", vault.Relayed: "it is heard of through a relay only, so nobody sees where it is", vault.Joined: "it has joined the tailnet anew",
	vault.Sealed: "its TPM does not give back its own share: the firmware, Secure Boot or its keys were changed, or the disk is in another machine",
}

// Waiting asks all holders whether the node waits for its owner.
func (h *Holders) Waiting(ctx context.Context) (all []Answer) {
	for _, name := range h.names {
		a := Answer{Holder: name}
		out, err := h.ask(ctx, name, contract.AskUnlock(h.node))
		if err == nil {
			err = a.read(out)
		}
		if err != nil {
			var silent *inquiry.SilentError
			a.Fault, a.Silent = err.Error(), errors.As(err, &silent)
		}
		all = append(all, a)
	}
	return all
}

func (a *Answer) read(out []byte) error {
	var said vault.Asking
	if err := json.Unmarshal(out, &said); err != nil || reasons[said.Why] == "" || said.Since.IsZero() {
		return errors.New("the answer is none: its image is older")
	}
	a.Waits, a.Place, a.Why, a.Since = true, said.Place, reasons[said.Why], said.Since.UTC()
	return nil
}

// String is the answer as a sentence.
func (a Answer) String() string {
	switch {
	case a.Silent:
		return a.Holder + ": could not be asked: " + a.Fault
	case a.Fault != "":
		return a.Holder + ": " + a.Fault
	case a.Place.IsValid():
		return fmt.Sprintf("%s: it asks from %s since %s; %s", a.Holder, a.Place.Addr(), a.Since.Format(time.DateTime+" MST"), a.Why)
	}
	return fmt.Sprintf("%s: it asks since %s; %s", a.Holder, a.Since.Format(time.DateTime+" MST"), a.Why)
}

// CheckWaits says why nothing in the answers can be unlocked, nil if something can. It
// distinguishes holders that could not be asked.
func (h *Holders) CheckWaits(shown []Answer) error {
	var silent []string
	for _, a := range shown {
		if a.Waits {
			return nil
		}
		if a.Silent {
			silent = append(silent, a.Holder)
		}
	}
	switch len(silent) {
	case 0:
		return fmt.Errorf("%s waits for nobody's word at any of them", h.node)
	case len(shown):
		return fmt.Errorf("whether %s waits nobody knows: none of those that keep its share could be asked", h.node)
	}
	return fmt.Errorf("%s waits for nobody's word at those that answered; %s could not be asked", h.node, strings.Join(silent, ", "))
}

// Unlock approves the node at one of the holders at which it was shown to wait: each
// approval would let the node in once. If a holder does not accept, the next one is asked.
// agreed is the holder that accepted.
func (h *Holders) Unlock(ctx context.Context, shown []Answer) (agreed string, err error) {
	for _, a := range shown {
		if !a.Waits {
			continue
		}
		_, fault := h.ask(ctx, a.Holder, contract.TellUnlock(h.node, a.Since))
		if fault == nil {
			return a.Holder, nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", a.Holder, fault))
	}
	return "", err
}

// Revoke makes holders refuse the node for ever: the given numbers in Headscale and all its
// shares or, with only, just the shares of these numbers. The error names the holders that
// do not know yet, and says how to tell them by hand.
func (h *Holders) Revoke(ctx context.Context, names, numbers []string, only bool) (told []string, err error) {
	for _, n := range numbers { // the numbers come from a server, and go into a shell command
		if n == "" || strings.Trim(n, "0123456789") != "" {
			return nil, fmt.Errorf("%s has the number %q in Headscale, which is none", h.node, n)
		}
	}
	command := contract.TellRevoke(h.node, numbers, only)
	for _, name := range names {
		if _, fault := h.ask(ctx, name, command); fault != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, fault))
			continue
		}
		told = append(told, name)
	}
	if err != nil {
		err = fmt.Errorf("%w\nsay there, whatever way you have to them: %s", err, command)
	}
	return told, err
}

// Package shares speaks for the owner to the nodes that keep shares of another one's
// key: agree to a node that waits, or refuse it for ever.
//
// It speaks over ssh, as package inquiry does. It agrees to nobody whom the owner was not
// shown, and believes of a holder no more than the form of its answer.
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

	"github.com/going-mobile/imagebuilder/firstboot/vault"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// Answer is what one holder says.
type Answer struct {
	Holder string `json:"holder"`
	// Waits says that the node waits there: from where, and why it got nothing.
	Waits bool         `json:"waits"`
	Place netip.Prefix `json:"place,omitzero"`
	Why   string       `json:"why,omitempty"`
	Since time.Time    `json:"since,omitzero"`
	// Fault is why it does not wait there, "" where it does; Silent that the holder
	// could not be asked.
	Fault  string `json:"fault,omitempty"`
	Silent bool   `json:"silent,omitempty"`
}

// Holders are those of one node.
type Holders struct {
	node     string
	names    []string
	subjects map[string]inquiry.Subject
	tell     func(ctx context.Context, s inquiry.Subject, command string, input io.Reader) ([]byte, error)
}

// Of finds the holders of a node, as Headscale knows them. The machine that runs it is found
// also where that says nothing, and rows are nil.
func Of(f *fleet.Fleet, rows []roster.Row, name string) (*Holders, error) {
	if _, err := f.Find(name); err != nil {
		return nil, err
	}
	h := &Holders{node: name, names: f.Holders(name), subjects: map[string]inquiry.Subject{}}
	if c := f.Control(); c != "" {
		h.subjects[c] = inquiry.Subject{Node: c} // at its own name
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

// ask runs a command of firstboot on one of them.
func (h *Holders) ask(ctx context.Context, holder, command string) ([]byte, error) {
	s, ok := h.subjects[holder]
	if !ok {
		return nil, &inquiry.SilentError{Why: "it has no address in the tailnet"}
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	out, err := h.tell(ctx, s, "firstboot "+command, nil)
	if err != nil {
		return nil, inquiry.Plain(err)
	}
	return out, nil
}

// reasons are what a holder may say of one who waits, in words.
var reasons = map[vault.Why]string{
	vault.Place: "it never was there", vault.Relayed: "it is heard of through a relay only, so nobody sees where it is", vault.Joined: "it has joined the tailnet anew",
	vault.Sealed: "its TPM does not give back its own share: the firmware, Secure Boot or its keys were changed, or the disk is in another machine",
}

// Waiting asks all holders whether the node waits for its owner's word.
func (h *Holders) Waiting(ctx context.Context) (all []Answer) {
	for _, name := range h.names {
		a := Answer{Holder: name}
		out, err := h.ask(ctx, name, "unlock "+h.node)
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

// String is the answer in a sentence.
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

// CheckWaits says why there is nothing to agree to in what holders answered. Of those
// that could not be asked nobody knows.
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

// Unlock agrees to what was shown with one of the holders where the node waits: a word with
// each would let it in as often. The others are asked where one does not take it.
func (h *Holders) Unlock(ctx context.Context, shown []Answer) (agreed string, err error) {
	for _, a := range shown {
		if !a.Waits {
			continue
		}
		_, fault := h.ask(ctx, a.Holder, "unlock --since "+a.Since.Format(time.RFC3339)+" "+h.node)
		if fault == nil {
			return a.Holder, nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", a.Holder, fault))
	}
	return "", err
}

// Revoke has holders refuse the node for ever, with the numbers that it has in the tailnet
// and all its shares, or only with those of these numbers. The error names those that do not
// know of it yet, and how to say it there.
func (h *Holders) Revoke(ctx context.Context, names, numbers []string, only bool) (told []string, err error) {
	for _, n := range numbers { // they come from a server, and go into a shell
		if n == "" || strings.Trim(n, "0123456789") != "" {
			return nil, fmt.Errorf("%s has the number %q in Headscale, which is none", h.node, n)
		}
	}
	command := strings.Join(append([]string{h.node}, numbers...), " ")
	if only {
		command = "--only " + command
	}
	command = "revoke " + command
	for _, name := range names {
		if _, fault := h.ask(ctx, name, command); fault != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, fault))
			continue
		}
		told = append(told, name)
	}
	if err != nil {
		err = fmt.Errorf("%w\nsay there, whatever way you have to them: firstboot %s", err, command)
	}
	return told, err
}

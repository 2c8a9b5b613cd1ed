package firstboot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Preview is what becomes of a node.yaml that the owner signed.
type Preview struct {
	// InForce says that the node works by this very file.
	InForce bool `json:"inForce"`
	// Fields say something else than what is in force, tokens included; other secrets
	// show in Steps alone.
	Fields []string `json:"fields,omitempty"`
	// Steps are what is to be done for it; of what is in force, what is left.
	Steps []string `json:"steps,omitempty"`
}

// Foresee judges a node.yaml as Offer does, asks all steps what would be left to do, and
// changes nothing. It returns a *Problem where the file would be refused, or be followed
// by the need of a person.
func Foresee(ctx context.Context, h Host, data []byte) (*Preview, error) {
	now, err := load(h.Files)
	if err != nil {
		return nil, err
	}
	if sig, err := node.ReadSignature(data); err == nil && sig != nil && sig.Digest == now.last.digest {
		left, err := h.left(ctx, now)
		return &Preview{InForce: true, Steps: left}, err
	}
	if len(data) > node.ReservedSize {
		return nil, problem("offer-large")
	}
	next, err := h.judge(data)
	if err != nil {
		return nil, err
	}
	p := &Preview{Fields: now.cfg.Keep().Changes(next.cfg.Keep())}
	forgotten, err := h.forgotten(next.cfg)
	if err != nil {
		return nil, err
	}
	tokens, err := h.differing(tokenFiles(next.cfg))
	if err != nil {
		return nil, err
	}
	p.Fields = union(union(p.Fields, forgotten), tokens)
	p.Steps, err = h.left(ctx, next)
	p.Steps = slices.DeleteFunc(p.Steps, func(s string) bool { return s == "seal" }) // which comes after any file
	return p, err
}

// left are the steps that are not done. One that cannot tell is to be done, unless only a
// person could.
func (h *Host) left(ctx context.Context, g *given) (steps []string, err error) {
	m := &machine{Host: *h, given: g}
	for _, s := range m.steps() {
		done, err := s.Done(ctx)
		var p *Problem
		switch {
		case errors.As(err, &p) && p.state() == NeedsPerson:
			return steps, err
		case ctx.Err() != nil:
			return steps, fmt.Errorf("%s: %w", s.Name, ctx.Err())
		case err != nil || !done:
			steps = append(steps, s.Name)
		}
	}
	return steps, nil
}

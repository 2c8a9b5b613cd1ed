package firstboot

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Foresee judges a node.yaml as Give does, asks all steps what would be left to do, and
// changes nothing. It fails where the file would be refused, or be followed by the need
// of a person.
func Foresee(ctx context.Context, h Host, data []byte) (*contract.Preview, error) {
	now, err := load(h.Files)
	if err != nil {
		return nil, err
	}
	if h.inForce(now, data) {
		left, err := h.left(ctx, now)
		return &contract.Preview{InForce: true, Steps: left}, err
	}
	if len(data) > node.ReservedSize {
		return nil, problem("offer-large")
	}
	next, err := h.judge(data)
	if err != nil {
		return nil, err
	}
	if err := h.notNow(ctx, now, next); err != nil {
		return nil, err
	}
	p := &contract.Preview{}
	if p.Fields, err = h.differences(now, next); err != nil {
		return nil, err
	}
	p.Steps, err = h.left(ctx, next)
	p.Steps = slices.DeleteFunc(p.Steps, func(s string) bool { return s == "seal" }) // which comes after any file
	return p, err
}

// Give hands over a node.yaml in the tailnet, where Foresee has nothing against it: a
// member that works can wait for what a node that needs help cannot.
func Give(ctx context.Context, h Host, data []byte) error {
	p, err := Foresee(ctx, h, data)
	if err != nil || p.InForce {
		return err
	}
	return Offer(h, data)
}

// inForce: a key, tokens or the network may have changed since without a signature.
func (h *Host) inForce(now *given, data []byte) bool {
	sig, err := node.ReadSignature(data)
	if err != nil || sig == nil || sig.Digest != now.last.digest {
		return false
	}
	cfg, err := node.Load("what was handed over", data)
	return err == nil && len(now.cfg.Keep().Changes(cfg.Keep())) == 0
}

// differences are the fields of which something else is in force: where the own copy has
// forgotten what, the files tell.
func (h *Host) differences(now, next *given) ([]string, error) {
	forgotten, err := h.forgotten(next.cfg)
	if err != nil {
		return nil, err
	}
	m := &machine{Host: *h, given: next}
	secret, err := h.differing(append(tokenFiles(next.cfg), fieldFiles{"network.wifi", wifiFiles(&next.cfg.Network)}, fieldFiles{"network.proxy", m.proxyFiles()}))
	if err != nil {
		return nil, err
	}
	return union(union(now.cfg.Keep().Changes(next.cfg.Keep()), forgotten), secret), nil
}

// notNow says what a node is busy with that another node.yaml would spoil.
func (h *Host) notNow(ctx context.Context, now, next *given) error {
	m := &machine{Host: *h, given: now}
	trial, err := h.Slot.Trial(ctx)
	if err != nil {
		return err
	}
	open, err := m.unlocked()
	if err != nil {
		return err
	}
	back, err := m.restored()
	switch {
	case err != nil:
		return err
	case trial != nil:
		return errors.New("an update is on trial: what came meanwhile would be lost if the node falls back")
	case !open:
		return errors.New("its data are locked, and the secrets of a node.yaml would lie in the clear until they are not")
	case !back && next.cfg.K3s.Seed.Restore == nil:
		return errors.New("its volumes are being restored, and nothing must be made in their place before they are there")
	}
	return h.lacksCharts(next.cfg)
}

// unlocked says whether what is encrypted is open; what is not always is.
func (m *machine) unlocked() (bool, error) {
	if encrypted, err := m.encrypted(); err != nil || !encrypted {
		return err == nil, err
	}
	return m.storesOpen()
}

// chartFile is how a seed calls a chart that servers have.
var chartFile = regexp.MustCompile(`/static/charts/([^"\s]+)`)

// lacksCharts: a chart that no image of this node has would fail until there is one.
func (h *Host) lacksCharts(c *node.Config) error {
	for _, text := range c.K3s.Seed.Manifests {
		for _, found := range chartFile.FindAllStringSubmatch(text, -1) {
			if ok, err := h.exists("/" + contract.ChartsDir + "/" + found[1]); err != nil || !ok {
				return errors.Join(err, fmt.Errorf("the chart %s is not in its image: update that first", found[1]))
			}
		}
	}
	return nil
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

package firstboot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Foresee judges a signed node.yaml, asks all steps what they would have to do for it, and
// changes nothing. It fails if Give would refuse the file, or if a person would then be
// needed.
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
	next, err := h.judgeOffer(data)
	if err != nil {
		return nil, err
	}
	if err := h.notNow(ctx, now, next); err != nil {
		return nil, err
	}
	p := &contract.Preview{Charts: otherCharts(now.cfg.K3s.Seed.Manifests, next.cfg.K3s.Seed.Manifests)}
	if p.Fields, err = h.differences(now, next); err != nil {
		return nil, err
	}
	p.Steps, err = h.left(ctx, next)
	p.Steps = slices.DeleteFunc(p.Steps, func(s string) bool { return s == "seal" }) // it follows every new file
	return p, err
}

// Give hands over a node.yaml through the tailnet, if Foresee has no objection. It is
// stricter than the page: a member that works can wait, a node that needs help cannot.
func Give(ctx context.Context, h Host, data []byte) error {
	p, err := Foresee(ctx, h, data)
	if err != nil || p.InForce {
		return err
	}
	return Offer(h, data)
}

// inForce also compares the fields: a key, tokens or the network may have changed since
// without a signature.
func (h *Host) inForce(now *given, data []byte) bool {
	sig, err := node.ReadSignature(data)
	if err != nil || sig == nil || sig.Digest != now.last.digest {
		return false
	}
	cfg, err := node.Load("what was handed over", data)
	return err == nil && len(now.cfg.Keep().Changes(cfg.Keep())) == 0
}

// differences returns the fields of next that differ from what is in force. Where the own
// copy does not keep a value, the files on the node are compared.
func (h *Host) differences(now, next *given) ([]string, error) {
	forgotten, err := h.forgotten(next.cfg)
	if err != nil {
		return nil, err
	}
	m := &machine{Host: *h, given: next}
	wifi, err := m.wifiFiles()
	if err != nil {
		return nil, err
	}
	secret, err := h.differing(append(tokenFiles(next.cfg), fieldFiles{"network.wifi", wifi}, fieldFiles{"network.proxy", m.proxyFiles()}))
	if err != nil {
		return nil, err
	}
	return union(union(now.cfg.Keep().Changes(next.cfg.Keep()), forgotten), secret), nil
}

// notNow returns what the node is busy with that another node.yaml would spoil, nil if
// nothing.
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

// unlocked reports whether the encrypted data are open; it is true if nothing is encrypted.
func (m *machine) unlocked() (bool, error) {
	if encrypted, err := m.encrypted(); err != nil || !encrypted {
		return err == nil, err
	}
	return m.storesOpen()
}

// chartFile matches a reference in a seed's manifest to a chart that servers offer.
var chartFile = regexp.MustCompile(`/static/charts/([^"\s]+)`)

func otherCharts(now, next map[string]string) (all []contract.ChartChange) {
	for _, name := range slices.Sorted(maps.Keys(next)) {
		from, to := chartFile.FindStringSubmatch(now[name]), chartFile.FindStringSubmatch(next[name])
		if from != nil && to != nil && from[1] != to[1] {
			all = append(all, contract.ChartChange{From: from[1], To: to[1]})
		}
	}
	return all
}

// lacksCharts refuses a chart that this node's image does not have: it would fail until one
// has.
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

// left returns the steps that are not done. A step that cannot tell counts as not done,
// unless a person would be needed: that is an error.
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

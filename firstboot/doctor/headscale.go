package doctor

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// headscale answers, where this node runs it, as the world would find it, with a
// certificate that lasts.
func (p *patient) headscale(ctx context.Context) {
	const group = "Headscale"
	if up, err := p.Units.Active(ctx, contract.HeadscaleUnit); err != nil || !up {
		return
	}
	s, err := p.ServedHeadscale(ctx)
	if err != nil {
		p.add(group, "certificate", Warning, err.Error())
	}
	if s == nil {
		return
	}
	if f := s.Fault; f != nil {
		p.add(group, s.Host, Failure, f.Summary+" "+f.Remedy)
	} else {
		p.add(group, s.Host, OK, "")
	}
	switch {
	case s.Ending != nil:
		p.add(group, "certificate", Warning, s.Ending.Summary+" "+s.Ending.Remedy)
	case !s.Until.IsZero():
		p.add(group, "certificate", OK, "until "+s.Until.UTC().Format(time.DateOnly))
	}
}

package doctor

import (
	"context"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// applications checks that the names which this node serves, if any, lead somewhere.
func (p *patient) applications(ctx context.Context) {
	const group = "Names"
	if up, err := p.Units.Active(ctx, contract.HeadscaleUnit); err != nil || !up {
		return
	}
	all, err := p.ServedNames()
	if err != nil {
		p.add(group, "names of applications", Warning, err.Error())
	}
	for _, n := range all {
		if len(n.Addresses) == 0 {
			p.add(group, n.Host, Warning, "leads nowhere: none of the nodes for it has joined")
			continue
		}
		p.add(group, n.Host, OK, strings.Join(n.Addresses, ", "))
	}
}

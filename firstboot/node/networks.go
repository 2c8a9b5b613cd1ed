package node

import (
	"net/netip"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// PodNetworks are the networks of the cluster's pods, by cluster-cidr of a server's k3s or its
// default; one for each address family.
func (s Settings) PodNetworks() []netip.Prefix {
	return s.networks("cluster-cidr", contract.PodNetwork)
}

// ServiceNetworks are those of the cluster's services, by service-cidr.
func (s Settings) ServiceNetworks() []netip.Prefix {
	return s.networks("service-cidr", contract.ServiceNetwork)
}

// networks reads a flag that is a list or one text. k3s does not start with anything else in it.
func (s Settings) networks(flag, usual string) (out []netip.Prefix) {
	for text := range strings.SplitSeq(strings.Join(s.List(flag), ","), ",") {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			out = append(out, p.Masked())
		}
	}
	if len(out) == 0 {
		out = append(out, netip.MustParsePrefix(usual))
	}
	return out
}

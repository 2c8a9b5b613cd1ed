package firstboot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// The cause of a failed connection is looked for from the near end to the far one: cable,
// address, name server, server, certificate.

// localFault names what is wrong with the network at hand, nil if nothing is.
func (m *machine) localFault(ctx context.Context) *Problem {
	links, err := m.Net.Links(ctx)
	if err != nil {
		return nil
	}
	if p := m.overlap(links); p != nil {
		return p
	}
	var carriers []string
	for _, l := range links {
		if len(l.Addresses) > 0 {
			return nil
		}
		if l.Carrier {
			carriers = append(carriers, l.Name)
		}
	}
	w := m.cfg.Network.WiFi
	switch {
	case len(carriers) == 0:
		return m.unlinked(links)
	case w != nil && !slices.ContainsFunc(carriers, func(name string) bool { return !wireless(name) }):
		return problem("no-dhcp-wifi", w.SSID)
	}
	slices.Sort(carriers)
	return problem("no-dhcp", strings.Join(carriers, ", "))
}

// overlap names a network whose addresses are the cluster's: its router, and machines in it,
// cannot be reached once k3s has its routes. A network that is wider and has this node
// elsewhere does no harm, as the cluster's routes are narrower. An agent cannot know which
// networks the servers gave to the cluster.
func (m *machine) overlap(links []Link) *Problem {
	if m.cfg.Role != node.Server && m.cfg.Role != node.Witness {
		return nil
	}
	taken := slices.Concat(m.cfg.K3s.Config.PodNetworks(), m.cfg.K3s.Config.ServiceNetworks())
	for _, l := range links {
		for _, p := range l.Networks {
			i := slices.IndexFunc(taken, func(t netip.Prefix) bool { return t.Contains(p.Addr()) })
			if i >= 0 {
				return problem("lan-overlaps", p.Masked().String(), taken[i].String())
			}
		}
	}
	return nil
}

// unlinked names what is missing if no port has a carrier: the Wi-Fi, if node.yaml has one,
// or else a cable, or the port that it goes into.
func (m *machine) unlinked(links []Link) *Problem {
	radio := func(l Link) bool { return wireless(l.Name) }
	w := m.cfg.Network.WiFi
	switch {
	case w != nil && slices.ContainsFunc(links, radio):
		return problem("no-wifi", w.SSID)
	case w != nil:
		return problem("no-radio", w.SSID)
	case !slices.ContainsFunc(links, func(l Link) bool { return !radio(l) }):
		return problem("no-port")
	}
	return problem("no-link")
}

// wireless reports whether a port is for Wi-Fi: the overlay wifi has a .link file for that
// name.
func wireless(port string) bool { return strings.HasPrefix(port, "wlan") }

// controlFault names what keeps this node from its Headscale server, nil if
// nothing does.
func (m *machine) controlFault(ctx context.Context) *Problem {
	if p := m.localFault(ctx); p != nil {
		return p
	}
	host := hostOf(m.cfg.Headscale.URL)
	var leads []netip.Addr
	if _, err := netip.ParseAddr(host); err != nil && m.cfg.Network.Proxy.Empty() { // behind a proxy, the proxy resolves names
		if leads, err = m.Net.Resolve(ctx, host); err != nil {
			return m.resolveFault(ctx, host, err)
		}
	}
	err := m.Net.Control(ctx, m.cfg.Headscale.URL, m.cfg.Headscale.CA)
	if err == nil {
		return nil
	}
	if m.cfg.Control != nil {
		if p := m.ownFault(ctx, host, leads, err); p != nil {
			return p.because(err)
		}
	}
	return m.controlProblem(host, err)
}

func (m *machine) resolveFault(ctx context.Context, host string, err error) *Problem {
	var dns *net.DNSError
	switch {
	case m.withoutDNS():
		return problem("no-dns", host, m.firstPort(ctx)).because(err)
	case !errors.As(err, &dns) || !dns.IsNotFound:
		return problem("dns-down", host).because(err)
	case m.cfg.Control != nil:
		return problem("control-name", host, join(m.ownAddresses(ctx))).because(err)
	}
	return problem("unknown-host", host).because(err)
}

// resolvConf has the name servers that systemd-resolved was told of, by DHCP or by node.yaml.
const resolvConf = "/run/systemd/resolve/resolv.conf"

func (m *machine) withoutDNS() bool {
	text, err := m.read(resolvConf)
	return err == nil && !strings.Contains("\n"+string(text), "\nnameserver ")
}

// firstPort returns the name of a port with an address.
func (m *machine) firstPort(ctx context.Context) string {
	links, err := m.Net.Links(ctx)
	i := slices.IndexFunc(links, func(l Link) bool { return len(l.Addresses) > 0 })
	if err != nil || i < 0 {
		return "eth0"
	}
	return links[i].Name
}

// Errors of Net.Control that are not faults of the network.
var (
	ErrNotHeadscale = errors.New("no Headscale server answers there")
	ErrPortal       = errors.New("a login page answers in place of the server")
)

// controlProblem says in words why a Headscale server was not reached.
func (m *machine) controlProblem(host string, err error) *Problem {
	var invalid x509.CertificateInvalidError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, ErrPortal):
		return problem("captive-portal").because(err)
	case errors.Is(err, ErrNotHeadscale):
		return problem("not-headscale", host).because(err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return m.dateFault(host).because(err)
	case errors.As(err, &cert):
		return problem("untrusted", host, cert.Err.Error()).because(err)
	}
	return problem("unreachable", host).because(err)
}

// dateFault is the problem of a certificate that seems expired, or not yet
// valid. It may be fine, and the clock wrong: if no time server has confirmed
// that, or one has set it to what cannot be.
func (m *machine) dateFault(host string) *Problem {
	if synced, err := m.Clock.Synced(); err != nil || !synced {
		return problem("clock-wrong", m.today())
	}
	if floor, err := m.clockFloor(); err == nil && m.clockAstray(floor) {
		return problem("clock-served", m.today())
	}
	return problem("cert-date", host, m.today())
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Hostname()
}

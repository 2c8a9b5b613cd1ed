// Package network is a small Internet inside this process, for emulated machines. Every site
// is an Ethernet switch behind its own router, which translates addresses as at home. The
// links between the sites and the public segment can be slow, lossy, or cut.
//
// From a site only the public segment can be reached, never another site; from the public
// segment a site can only be answered. No packet leaves this process, and names that were
// not configured do not exist. It needs no privileges. It does not forward IPv6, fragments
// or ICMP errors.
package network

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Config describes a network.
type Config struct {
	// Sites are the sites' private networks, by name of the site.
	Sites map[string]netip.Prefix
	// WAN is the link between each site and the public segment.
	WAN Link
	// Names are the names in DNS, each with the name of the machine to which it resolves.
	Names map[string]string
}

// The public segment, and the range of the sites' addresses there: both reserved for
// documentation (RFC 5737).
var (
	public = netip.MustParsePrefix("203.0.113.0/24")
	wan    = netip.MustParsePrefix("198.51.100.0/24")
)

// Public is the name of the segment that all sites reach.
const Public = ""

// Network connects machines. Close it after use.
type Network struct {
	names  map[string]string
	places map[string]*place

	mu    sync.Mutex
	ports map[string]*port // by the machine's name
	all   sync.WaitGroup
}

// New makes a network without machines.
func New(c Config) (*Network, error) {
	n := &Network{names: map[string]string{}, places: map[string]*place{}, ports: map[string]*port{}}
	for name, machine := range c.Names {
		n.names[strings.ToLower(name)] = machine
	}
	internet := newPlace(n, public)
	n.places[Public] = internet
	outside := wan.Addr()
	for _, name := range slices.Sorted(maps.Keys(c.Sites)) {
		lan := c.Sites[name].Masked()
		if name == Public || !lan.Addr().Is4() || lan.Bits() > 28 {
			return nil, errors.Join(n.Close(), fmt.Errorf("site %q: want an IPv4 network of /28 or larger, not %s", name, lan))
		}
		if outside = outside.Next(); !wan.Contains(outside) {
			return nil, errors.Join(n.Close(), fmt.Errorf("there are more than %d sites", 1<<(32-wan.Bits())-1))
		}
		s := newPlace(n, lan)
		s.nat = newNAT(outside)
		s.up = newPipe(c.WAN, internet.deliver)
		s.down = newPipe(c.WAN, s.arrive)
		n.places[name] = s
	}
	return n, nil
}

// Plug creates a socket for a machine at a site (or Public). QEMU connects to it by "-netdev
// stream,addr.type=unix,addr.path=SOCKET", each time the machine starts. Plug returns the
// address that DHCP will give the machine.
func (n *Network) Plug(machine, site string, mac net.HardwareAddr, socket string) (netip.Addr, error) {
	at, ok := n.places[site]
	if !ok {
		return netip.Addr{}, fmt.Errorf("there is no site %q", site)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return netip.Addr{}, err
	}
	p, err := at.join(mac, l)
	if err != nil {
		return netip.Addr{}, errors.Join(err, l.Close())
	}
	n.mu.Lock()
	n.ports[machine] = p
	n.mu.Unlock()
	n.all.Go(func() { p.serve(at) })
	return p.addr, nil
}

// Cut cuts off a site from all others, or connects it again.
func (n *Network) Cut(site string, off bool) error {
	at, ok := n.places[site]
	if !ok || at.nat == nil {
		return fmt.Errorf("there is no site %q", site)
	}
	at.off.Store(off)
	return nil
}

// lookup resolves a name for DNS.
func (n *Network) lookup(name string) (netip.Addr, bool) {
	machine, ok := n.names[name]
	if !ok {
		return netip.Addr{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.ports[machine]
	if !ok {
		return netip.Addr{}, false
	}
	return p.addr, true
}

// route forwards a packet that is not for the router of the place from itself.
func (n *Network) route(from *place, p ipv4) {
	internet := n.places[Public]
	if from.nat != nil {
		if internet.prefix.Contains(p.dst()) && !from.off.Load() && from.nat.out(p) {
			from.up.send(p)
		}
		return
	}
	for _, s := range n.places {
		if s.nat != nil && s.nat.outside == p.dst() && !s.off.Load() {
			s.down.send(p)
		}
	}
}

// Close ends the network.
func (n *Network) Close() error {
	var errs error
	n.mu.Lock()
	for _, p := range n.ports {
		errs = errors.Join(errs, p.close())
	}
	n.mu.Unlock()
	n.all.Wait()
	for _, s := range n.places {
		if s.nat != nil {
			s.up.close()
			s.down.close()
		}
	}
	return errs
}

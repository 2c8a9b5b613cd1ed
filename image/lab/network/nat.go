package network

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// nat is what a router at home does: all machines behind it share one address.
// A port means the same to everybody outside (RFC 4787, endpoint-independent).
type nat struct {
	outside netip.Addr

	mu     sync.Mutex
	ports  map[inner]*mapping
	inners map[outer]*mapping
	next   uint16
}

// inner is a machine's own end, outer what it is seen as.
type inner struct {
	proto byte
	end   netip.AddrPort
}

type outer struct {
	proto byte
	port  uint16
}

type mapping struct {
	in   inner
	out  outer
	used time.Time
}

const (
	// firstPort is the first one that is given away where a machine's own is taken.
	firstPort = 20000
	// idle is how long a mapping outlives its last packet: that of a TCP
	// connection that says nothing for two hours is the longest (RFC 5382).
	idle = 2 * time.Hour
)

func newNAT(outside netip.Addr) *nat {
	return &nat{outside: outside, ports: map[inner]*mapping{}, inners: map[outer]*mapping{}, next: firstPort}
}

// out makes a packet one of the router's own; false where it cannot.
func (n *nat) out(p ipv4) bool {
	port := p.port(atSource)
	if port == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	in := inner{p.proto(), netip.AddrPortFrom(p.src(), binary.BigEndian.Uint16(port))}
	m := n.ports[in]
	if m == nil {
		out, ok := n.free(in)
		if !ok {
			return false
		}
		m = &mapping{in: in, out: out}
		n.ports[in], n.inners[out] = m, m
	}
	m.used = time.Now()
	p.rewrite(atSource, n.outside, m.out.port)
	return true
}

// free finds a port, the machine's own if it can be.
func (n *nat) free(in inner) (outer, bool) {
	own := outer{in.proto, in.end.Port()}
	if n.unused(own) {
		return own, true
	}
	for range 1<<16 - firstPort {
		o := outer{in.proto, n.next}
		if n.next++; n.next == 0 {
			n.next = firstPort
		}
		if n.unused(o) {
			return o, true
		}
	}
	return outer{}, false
}

func (n *nat) unused(o outer) bool {
	m := n.inners[o]
	if m == nil {
		return true
	}
	if time.Since(m.used) < idle {
		return false
	}
	delete(n.ports, m.in)
	delete(n.inners, o)
	return true
}

// in finds the machine that a packet from outside is for; false where none
// asked for it.
func (n *nat) in(p ipv4) bool {
	port := p.port(atDestination)
	if port == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.inners[outer{p.proto(), binary.BigEndian.Uint16(port)}]
	if m == nil {
		return false
	}
	m.used = time.Now()
	p.rewrite(atDestination, m.in.end.Addr(), m.in.end.Port())
	return true
}

package network

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// nat translates addresses as a home router does: all machines behind it share one address.
// A machine's port is mapped to the same outside port for all peers (RFC 4787,
// endpoint-independent mapping).
type nat struct {
	outside netip.Addr

	mu     sync.Mutex
	ports  map[inner]*mapping
	inners map[outer]*mapping
	next   uint16
}

// inner is a machine's own address and port; outer is what they look like from outside.
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
	// firstPort is the first port that is used if a machine's own port is taken.
	firstPort = 20000
	// idle is how long a mapping outlives its last packet: two hours, the longest
	// recommended time, for an idle TCP connection (RFC 5382).
	idle = 2 * time.Hour
)

func newNAT(outside netip.Addr) *nat {
	return &nat{outside: outside, ports: map[inner]*mapping{}, inners: map[outer]*mapping{}, next: firstPort}
}

// out rewrites a packet to come from the router's address. It returns false if it cannot.
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

// free finds an outside port, the machine's own if possible.
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

// in rewrites a packet from outside to the machine that it is for. It returns false if no
// machine opened that port.
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

package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// place is an Ethernet segment and its router, which has the first address.
type place struct {
	net    *Network
	prefix netip.Prefix
	router netip.Addr

	// For a site only:
	nat      *nat
	up, down *pipe
	off      atomic.Bool

	mu    sync.Mutex
	ports []*port
	last  netip.Addr // the last address that was given out
}

// routerMAC is the same in every segment, as the segments do not see each other. 02 means
// locally administered.
var routerMAC = net.HardwareAddr{0x02, 'l', 'a', 'b', 0, 1}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// firstHost is the host number of the first machine in a network.
const firstHost = 10

func newPlace(n *Network, prefix netip.Prefix) *place {
	p := &place{net: n, prefix: prefix, router: prefix.Addr().Next(), last: prefix.Addr()}
	for range firstHost - 1 {
		p.last = p.last.Next()
	}
	return p
}

// join gives a machine the next address.
func (s *place) join(mac net.HardwareAddr, l net.Listener) (*port, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.last.Next()
	if !s.prefix.Contains(next.Next()) { // next.Next() may be the broadcast address
		return nil, fmt.Errorf("the network %s is full", s.prefix)
	}
	s.last = next
	p := newPort(mac, next, l)
	s.ports = append(s.ports, p)
	return p, nil
}

func (s *place) all() []*port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[:len(s.ports):len(s.ports)]
}

// Ethernet header: destination, source, type; the body follows.
const (
	etherHead = 14
	typeIPv4  = 0x0800
	typeARP   = 0x0806
)

// frame is the switch: it forwards a frame from a machine.
func (s *place) frame(from *port, f []byte) {
	if len(f) < etherHead {
		return
	}
	to := net.HardwareAddr(f[:6])
	group := to[0]&1 == 1
	known := false
	for _, p := range s.all() {
		if match := bytes.Equal(p.mac, to); p != from && (group || match) {
			p.send(f)
			known = known || match
		}
	}
	switch {
	case group: // clone: other ports have the frame in their queues, and the router rewrites packets
		s.routed(from, bytes.Clone(f))
	case !known && bytes.Equal(to, routerMAC):
		s.routed(from, f)
	}
}

// routed handles a frame that arrives at the router's own port.
func (s *place) routed(from *port, f []byte) {
	switch body := f[etherHead:]; binary.BigEndian.Uint16(f[12:]) {
	case typeARP:
		s.arp(from, body)
	case typeIPv4:
		p, ok := parseIPv4(body)
		if !ok || s.serve(from, p) || p.dst().IsMulticast() || s.prefix.Contains(p.dst()) || !p.hop() {
			return
		}
		s.net.route(s, p)
	}
}

// arp answers requests for the router's address (RFC 826).
func (s *place) arp(from *port, b []byte) {
	const ask, answer = 1, 2
	if len(b) < 28 || binary.BigEndian.Uint16(b[6:]) != ask || addrAt(b, 24) != s.router {
		return
	}
	f := ethernet(net.HardwareAddr(b[8:14]), typeARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, answer)
	f = append(append(f, routerMAC...), b[24:28]...)
	from.send(append(f, b[8:18]...))
}

func ethernet(to net.HardwareAddr, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append(make([]byte, 0, 1514), to...), routerMAC...), kind)
}

// deliver sends a packet to the machine with its destination address.
func (s *place) deliver(p ipv4) {
	for _, m := range s.all() {
		if m.addr == p.dst() {
			m.send(append(ethernet(m.mac, typeIPv4), p...))
		}
	}
}

// arrive handles a packet that comes to the site from outside.
func (s *place) arrive(p ipv4) {
	if s.nat.in(p) {
		s.deliver(p)
	}
}

package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/dns/dnsmessage"
)

// Ports of the services that every router offers.
const (
	portDNS        = 53
	portDHCP       = 67
	portDHCPClient = 68
	portNTP        = 123
)

// serve answers packets for the router itself, and returns false for all others.
func (s *place) serve(from *port, p ipv4) bool {
	limited := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if p.dst() != s.router && p.dst() != limited {
		return false
	}
	switch port := p.port(atDestination); {
	case port == nil:
	case p.proto() == icmp:
		s.pong(from, p)
	case p.proto() == udp:
		s.datagram(from, p, binary.BigEndian.Uint16(port))
	}
	return true
}

func (s *place) datagram(from *port, p ipv4, port uint16) {
	body := p.body()
	var answer []byte
	back := netip.AddrPortFrom(p.src(), binary.BigEndian.Uint16(body))
	switch data := body[8:]; port {
	case portDHCP:
		answer, back = s.dhcp(from, data)
	case portDNS:
		answer = s.dns(data)
	case portNTP:
		answer = ntp(data, time.Now())
	}
	if answer != nil {
		from.send(append(ethernet(from.mac, typeIPv4), newUDP(netip.AddrPortFrom(s.router, port), back, answer)...))
	}
}

// pong answers a ping.
func (s *place) pong(from *port, p ipv4) {
	b := append([]byte{}, p.body()...)
	if b[0] != echo {
		return
	}
	b[0], b[2], b[3] = echoReply, 0, 0
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	from.send(append(ethernet(from.mac, typeIPv4), newIPv4(icmp, s.router, p.src(), b)...))
}

// dhcp offers a machine the address of its port, and no other.
func (s *place) dhcp(from *port, data []byte) ([]byte, netip.AddrPort) {
	ask, err := dhcpv4.FromBytes(data)
	if err != nil || ask.OpCode != dhcpv4.OpcodeBootRequest || ask.ClientHWAddr.String() != from.mac.String() {
		return nil, netip.AddrPort{}
	}
	kinds := map[dhcpv4.MessageType]dhcpv4.MessageType{dhcpv4.MessageTypeDiscover: dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeRequest: dhcpv4.MessageTypeAck}
	kind, ok := kinds[ask.MessageType()]
	if !ok {
		return nil, netip.AddrPort{}
	}
	own, router := from.addr.AsSlice(), net.IP(s.router.AsSlice())
	if r := ask.RequestedIPAddress(); kind == dhcpv4.MessageTypeAck && r != nil && !r.Equal(own) {
		kind = dhcpv4.MessageTypeNak
	}
	answer, err := dhcpv4.NewReplyFromRequest(ask, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(own), dhcpv4.WithServerIP(router),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(router)), dhcpv4.WithRouter(router), dhcpv4.WithDNS(router), dhcpv4.WithOption(dhcpv4.OptNTPServers(router)),
		dhcpv4.WithNetmask(net.CIDRMask(s.prefix.Bits(), 32)), dhcpv4.WithLeaseTime(uint32((24 * time.Hour).Seconds())))
	if err != nil {
		return nil, netip.AddrPort{}
	}
	to := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if had, ok := netip.AddrFromSlice(ask.ClientIPAddr.To4()); ok && !had.IsUnspecified() {
		to = had // a client that renews listens on its own address only
	}
	return answer.ToBytes(), netip.AddrPortFrom(to, portDHCPClient)
}

// dns resolves the configured names; no others exist.
func (s *place) dns(data []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(data)
	if err != nil || head.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	addr, known := s.net.lookup(strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")))
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: head.ID, Response: true, Authoritative: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case !known:
		answer.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	packed, err := answer.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// ntp answers with this computer's time (RFC 5905), which the certificates' times are based
// on.
func ntp(question []byte, now time.Time) []byte {
	if len(question) < 48 {
		return nil
	}
	const epoch = 2208988800 // 1970 in seconds since 1900
	stamp := uint64(now.Unix()+epoch)<<32 | uint64(now.Nanosecond())<<32/1e9
	a := make([]byte, 48)
	a[0], a[1], a[2], a[3] = 4<<3|4, 2, question[2], 0xec // version 4, a server, stratum 2, to a microsecond
	copy(a[12:], "LAB ")
	copy(a[24:32], question[40:48]) // the client's transmit time
	for _, at := range []int{16, 32, 40} {
		binary.BigEndian.PutUint64(a[at:], stamp)
	}
	return a
}

package network

import (
	"encoding/binary"
	"net/netip"
)

// ipv4 is a complete packet (RFC 791) whose header was checked.
type ipv4 []byte

// Protocols, and offsets in a packet.
const (
	icmp, tcp, udp = 1, 6, 17
	atSource       = 12
	atDestination  = 16
)

// parseIPv4 refuses fragments: only the first one has ports.
func parseIPv4(b []byte) (ipv4, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, false
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < 20 || total < head || total > len(b) || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, false
	}
	return ipv4(b[:total]), true
}

func addrAt(b []byte, at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at : at+4])) }

func (p ipv4) src() netip.Addr { return addrAt(p, atSource) }
func (p ipv4) dst() netip.Addr { return addrAt(p, atDestination) }
func (p ipv4) proto() byte     { return p[9] }
func (p ipv4) body() []byte    { return p[int(p[0]&15)*4:] }

// hop decrements the TTL. It returns false if the TTL is used up.
func (p ipv4) hop() bool {
	if p[8] <= 1 {
		return false
	}
	before := [2]byte{p[8], p[9]}
	p[8]--
	adjust(p[10:12], before[:], p[8:10])
	return true
}

// ICMP's echo reply and echo request (RFC 792).
const echoReply, echo = 0, 8

// port is the part of a packet with the port of one end; for a ping it is the identifier. It
// is nil for a packet without ports.
func (p ipv4) port(at int) []byte {
	switch b := p.body(); {
	case p.proto() == icmp && len(b) >= 8 && (b[0] == echo || b[0] == echoReply):
		return b[4:6]
	case p.proto() == udp && len(b) >= 8, p.proto() == tcp && len(b) >= 20:
		return b[(at-atSource)/2:][:2]
	}
	return nil
}

// sum is the checksum field over the body, and whether the checksum also covers the
// addresses.
func (p ipv4) sum() (field []byte, pseudo bool) {
	switch b := p.body(); p.proto() {
	case tcp:
		return b[16:18], true
	case udp:
		return b[6:8], true
	default:
		return b[2:4], false
	}
}

// rewrite changes the address and port of one end. The packet must have ports.
func (p ipv4) rewrite(at int, addr netip.Addr, number uint16) {
	port := p.port(at)
	before := append(append([]byte{}, p[at:at+4]...), port...)
	now := addr.As4()
	after := binary.BigEndian.AppendUint16(now[:], number)
	copy(p[at:], after[:4])
	copy(port, after[4:])
	adjust(p[10:12], before[:4], after[:4])
	switch sum, pseudo := p.sum(); {
	case p.proto() == udp && sum[0] == 0 && sum[1] == 0: // the packet has no checksum (RFC 768)
	case pseudo:
		adjust(sum, before, after)
	default:
		adjust(sum, before[4:], after[4:])
	}
}

// adjust updates a checksum for changed data (RFC 1624, equation 3).
func adjust(sum, before, after []byte) {
	total := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < len(before); i += 2 {
		total += uint32(^binary.BigEndian.Uint16(before[i:])) + uint32(binary.BigEndian.Uint16(after[i:]))
	}
	binary.BigEndian.PutUint16(sum, ^fold(total))
}

// checksum is the Internet checksum of RFC 1071.
func checksum(b []byte) uint16 {
	var total uint32
	for i := 0; i+1 < len(b); i += 2 {
		total += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		total += uint32(b[len(b)-1]) << 8
	}
	return ^fold(total)
}

func fold(total uint32) uint16 {
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

// newIPv4 makes a packet.
func newIPv4(proto byte, src, dst netip.Addr, body []byte) ipv4 {
	p := make(ipv4, 20, 20+len(body))
	p[0], p[8], p[9] = 4<<4|5, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(body)))
	s, d := src.As4(), dst.As4()
	copy(p[atSource:], s[:])
	copy(p[atDestination:], d[:])
	binary.BigEndian.PutUint16(p[10:], checksum(p))
	return append(p, body...)
}

// newUDP makes a datagram without a checksum, which IPv4 allows.
func newUDP(src, dst netip.AddrPort, data []byte) ipv4 {
	var b []byte
	for _, v := range []uint16{src.Port(), dst.Port(), uint16(8 + len(data)), 0} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return newIPv4(udp, src.Addr(), dst.Addr(), append(b, data...))
}

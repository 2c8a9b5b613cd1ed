package network

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/dns/dnsmessage"
)

// host is a machine as QEMU connects it, with as much of a network as is needed.
type host struct {
	t      *testing.T
	conn   net.Conn
	mac    net.HardwareAddr
	addr   netip.Addr
	router netip.Addr
	to     net.HardwareAddr // next hop

	hearsAll bool // broadcasts, too
}

// lab is two sites and a server outside, "vps".
type lab struct {
	*Network
	t       *testing.T
	dir     string
	sockets map[string]string
	count   byte
}

func newLab(t *testing.T, wan Link) *lab {
	t.Helper()
	n, err := New(Config{
		Sites: map[string]netip.Prefix{"home": netip.MustParsePrefix("192.168.1.0/24"), "cabin": netip.MustParsePrefix("192.168.1.0/24")},
		WAN:   wan, Names: map[string]string{"Headscale.example.net": "vps"},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "net") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return &lab{Network: n, t: t, dir: dir, sockets: map[string]string{}}
}

func (l *lab) plug(name, site string) *host {
	l.t.Helper()
	l.count++
	mac := net.HardwareAddr{0x52, 0x54, 0, 0, 0, l.count}
	l.sockets[name] = filepath.Join(l.dir, name)
	addr, err := l.Plug(name, site, mac, l.sockets[name])
	if err != nil {
		l.t.Fatal(err)
	}
	h := &host{t: l.t, mac: mac, addr: addr}
	h.on(l.sockets[name])
	return h
}

func (h *host) on(socket string) {
	h.t.Helper()
	var err error
	if h.conn, err = net.Dial("unix", socket); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.conn.Close() })
}

func (h *host) send(to net.HardwareAddr, kind uint16, body []byte) {
	h.t.Helper()
	f := binary.BigEndian.AppendUint16(append(append([]byte{}, to...), h.mac...), kind)
	f = append(f, body...)
	if _, err := h.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(f))), f...)); err != nil {
		h.t.Fatal(err)
	}
}

// receive returns the next frame's type and body; false after a while without.
func (h *host) receive(wait time.Duration) (uint16, []byte, bool) {
	h.t.Helper()
	_ = h.conn.SetReadDeadline(time.Now().Add(wait))
	var head [4]byte
	if _, err := io.ReadFull(h.conn, head[:]); err != nil {
		return 0, nil, false
	}
	f := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(h.conn, f); err != nil {
		h.t.Fatal(err)
	}
	if f[0] == 0xff && !h.hearsAll { // a broadcast from another machine
		return h.receive(wait)
	}
	return binary.BigEndian.Uint16(f[12:]), f[14:], true
}

// soon is how long to wait for a packet that must come, even on a busy machine; shortly is
// how long to wait if none may come.
const (
	soon    = 20 * time.Second
	shortly = 300 * time.Millisecond
)

// packet waits for an IPv4 packet whose checksums are right.
func (h *host) packet(wait time.Duration) (ipv4, bool) {
	h.t.Helper()
	kind, b, ok := h.receive(wait)
	if !ok {
		return nil, false
	}
	p, sound := parseIPv4(b)
	if kind != typeIPv4 || !sound || checksum(p[:20]) != 0 {
		h.t.Fatalf("no sound packet: %04x %x", kind, b)
	}
	if sum, pseudo := p.sum(); pseudo && binary.BigEndian.Uint16(sum) != 0 && bodySum(p) != 0 {
		h.t.Fatalf("the body's checksum is wrong: %x", []byte(p))
	} else if !pseudo && checksum(p.body()) != 0 {
		h.t.Fatalf("the checksum is wrong: %x", []byte(p))
	}
	return p, true
}

// bodySum adds up a TCP or UDP body with its checksum: 0 if that is right.
func bodySum(p ipv4) uint16 {
	b := append([]byte{}, p[12:20]...)
	b = append(b, 0, p.proto())
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.body())))
	return checksum(append(b, p.body()...))
}

// dhcp sends a request and returns the answer.
func (h *host) dhcp(change func(*dhcpv4.DHCPv4)) *dhcpv4.DHCPv4 {
	h.t.Helper()
	m, err := dhcpv4.NewDiscovery(h.mac)
	if err != nil {
		h.t.Fatal(err)
	}
	change(m)
	h.send(broadcast, typeIPv4, newUDP(netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), m.ToBytes()))
	p, ok := h.packet(soon)
	if !ok {
		h.t.Fatal("DHCP does not answer")
	}
	answer, err := dhcpv4.FromBytes(p.body()[8:])
	if err != nil {
		h.t.Fatal(err)
	}
	return answer
}

// boots does what a machine does first: it gets an address and learns the router's.
func (h *host) boots() {
	h.t.Helper()
	offer := h.dhcp(func(*dhcpv4.DHCPv4) {})
	ack := h.dhcp(func(m *dhcpv4.DHCPv4) {
		m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
	})
	got, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if ack.MessageType() != dhcpv4.MessageTypeAck || got != h.addr || len(ack.Router()) != 1 {
		h.t.Fatalf("%v", ack.Summary())
	}
	h.router, _ = netip.AddrFromSlice(ack.Router()[0].To4())
	for _, list := range [][]net.IP{ack.DNS(), ack.NTPServers()} {
		if len(list) != 1 || !list[0].Equal(ack.Router()[0]) {
			h.t.Errorf("names and time come from %v", list)
		}
	}
	h.to = h.arp(h.router)
}

func (h *host) arp(who netip.Addr) net.HardwareAddr {
	h.t.Helper()
	own, other := h.addr.As4(), who.As4()
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, h.mac...)
	b = append(append(b, own[:]...), make([]byte, 6)...)
	h.send(broadcast, typeARP, append(b, other[:]...))
	kind, b, ok := h.receive(soon)
	if !ok || kind != typeARP || b[7] != 2 || addrAt(b, 14) != who {
		h.t.Fatalf("ARP: %v %x", ok, b)
	}
	return net.HardwareAddr(b[8:14])
}

// udp sends a datagram with a checksum.
func (h *host) udp(from uint16, to netip.AddrPort, text string) {
	h.t.Helper()
	p := newUDP(netip.AddrPortFrom(h.addr, from), to, []byte(text))
	binary.BigEndian.PutUint16(p.body()[6:], bodySum(p))
	h.send(h.to, typeIPv4, p)
}

// hears returns a datagram's sender, receiver and text, "" if none came.
func (h *host) hears(wait time.Duration) (from netip.AddrPort, to uint16, text string) {
	h.t.Helper()
	p, ok := h.packet(wait)
	if !ok {
		return
	}
	b := p.body()
	return netip.AddrPortFrom(p.src(), binary.BigEndian.Uint16(b)), binary.BigEndian.Uint16(b[2:]), string(b[8:])
}

func (h *host) silent(why string) {
	h.t.Helper()
	if from, to, text := h.hears(shortly); text != "" {
		h.t.Errorf("%s: %v says %q to port %d", why, from, text, to)
	}
}

// TestSites: a site reaches the server outside, which can answer. Two machines of one site
// can be told apart there. No site reaches another, even if both have the same addresses.
// Nothing from outside comes in unasked.
func TestSites(t *testing.T) {
	l := newLab(t, Link{})
	vps, pi, box, cabin := l.plug("vps", Public), l.plug("home-pi", "home"), l.plug("home-box", "home"), l.plug("cabin-pi", "cabin")
	for _, h := range []*host{vps, pi, box, cabin} {
		h.boots()
	}
	if !public.Contains(vps.addr) || pi.addr != cabin.addr || pi.addr == box.addr {
		t.Fatal(vps.addr, pi.addr, box.addr, cabin.addr)
	}
	at := netip.AddrPortFrom(vps.addr, 443)
	var seen []netip.AddrPort
	for i, h := range []*host{pi, box, cabin} {
		text := fmt.Sprintf("hello %d", i)
		h.udp(41641, at, text)
		from, _, got := vps.hears(soon)
		if got != text || !wan.Contains(from.Addr()) {
			t.Fatalf("%q from %v", got, from)
		}
		vps.udp(443, from, "welcome")
		if from, port, got := h.hears(soon); got != "welcome" || from != at || port != 41641 {
			t.Fatalf("%q from %v to %d", got, from, port)
		}
		seen = append(seen, from)
	}
	if seen[0].Addr() != seen[1].Addr() || seen[0] == seen[1] || seen[0].Addr() == seen[2].Addr() || seen[0].Port() != 41641 {
		t.Errorf("seen as %v", seen)
	}
	pi.udp(41641, seen[2], "psst")
	cabin.silent("from another site")
	vps.udp(443, netip.AddrPortFrom(seen[0].Addr(), 22), "let me in")
	pi.silent("unasked, from outside")
	pi.udp(41641, netip.MustParseAddrPort("1.1.1.1:53"), "anybody?")
	pi.silent("out of the lab")

	pi.to = pi.arpNeighbour(box)
	pi.udp(1, netip.AddrPortFrom(box.addr, 2), "over the switch")
	if from, _, got := box.hears(soon); got != "over the switch" || from.Addr() != pi.addr {
		t.Errorf("%q from %v", got, from)
	}
}

// arpNeighbour asks for another machine, which answers itself.
func (h *host) arpNeighbour(other *host) net.HardwareAddr {
	h.t.Helper()
	a, b := h.addr.As4(), other.addr.As4()
	q := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, h.mac...)
	q = append(append(append(q, a[:]...), make([]byte, 6)...), b[:]...)
	h.send(broadcast, typeARP, q)
	other.hearsAll = true
	kind, got, ok := other.receive(soon)
	other.hearsAll = false
	if !ok || kind != typeARP || addrAt(got, 24) != other.addr {
		h.t.Fatalf("the question: %v %x", ok, got)
	}
	return other.mac
}

// TestPingAndTCP: the other two kinds keep their checksums on the way.
func TestPingAndTCP(t *testing.T) {
	l := newLab(t, Link{})
	vps, pi := l.plug("vps", Public), l.plug("home-pi", "home")
	vps.boots()
	pi.boots()
	ping := []byte{echo, 0, 0, 0, 0x12, 0x34, 0, 1, 'x', 'y', 'z'}
	binary.BigEndian.PutUint16(ping[2:], checksum(ping))
	pi.send(pi.to, typeIPv4, newIPv4(icmp, pi.addr, pi.router, ping))
	if p, ok := pi.packet(soon); !ok || p.body()[0] != echoReply || string(p.body()[8:]) != "xyz" {
		t.Error("the router does not answer a ping")
	}
	pi.send(pi.to, typeIPv4, newIPv4(icmp, pi.addr, vps.addr, ping))
	p, ok := vps.packet(soon)
	if !ok {
		t.Fatal("no ping outside")
	}
	back := append([]byte{}, p.body()...)
	back[0], back[2], back[3] = echoReply, 0, 0
	binary.BigEndian.PutUint16(back[2:], checksum(back))
	vps.send(vps.to, typeIPv4, newIPv4(icmp, vps.addr, p.src(), back))
	if p, ok := pi.packet(soon); !ok || p.src() != vps.addr || p[8] != 63 {
		t.Errorf("the answer: %v %x", ok, []byte(p))
	}
	syn := make([]byte, 20)
	copy(syn, []byte{0xc0, 1, 1, 0xbb})
	syn[12], syn[13] = 5<<4, 2
	whole := newIPv4(tcp, pi.addr, vps.addr, syn)
	binary.BigEndian.PutUint16(whole.body()[16:], bodySum(whole))
	pi.send(pi.to, typeIPv4, whole)
	if p, ok := vps.packet(soon); !ok || p.proto() != tcp || bodySum(p) != 0 || p.src() == pi.addr {
		t.Errorf("TCP: %v %x", ok, []byte(p))
	}
}

// TestCut: a site that is cut off reaches nobody, its router still answers, and
// all is well afterwards.
func TestCut(t *testing.T) {
	l := newLab(t, Link{})
	vps, pi, cabin := l.plug("vps", Public), l.plug("home-pi", "home"), l.plug("cabin-pi", "cabin")
	for _, h := range []*host{vps, pi, cabin} {
		h.boots()
	}
	at := netip.AddrPortFrom(vps.addr, 443)
	cabin.udp(7, at, "here")
	from, _, _ := vps.hears(soon)
	if err := l.Cut("cabin", true); err != nil {
		t.Fatal(err)
	}
	cabin.udp(7, at, "help")
	vps.silent("from a site that is cut off")
	vps.udp(443, from, "are you there?")
	cabin.silent("to a site that is cut off")
	cabin.arp(cabin.router)
	pi.udp(7, at, "well")
	if _, _, got := vps.hears(soon); got != "well" {
		t.Errorf("the other site: %q", got)
	}
	if err := l.Cut("cabin", false); err != nil {
		t.Fatal(err)
	}
	cabin.udp(7, at, "back")
	if _, _, got := vps.hears(soon); got != "back" {
		t.Errorf("afterwards: %q", got)
	}
	for _, name := range []string{"nowhere", Public} {
		if err := l.Cut(name, true); err == nil {
			t.Errorf("%q was cut off", name)
		}
	}
}

// TestPower: a machine that is switched off and on again keeps its address.
func TestPower(t *testing.T) {
	l := newLab(t, Link{})
	vps, pi := l.plug("vps", Public), l.plug("home-pi", "home")
	vps.boots()
	pi.boots()
	pi.conn.Close()
	pi.on(l.sockets["home-pi"])
	pi.boots()
	pi.udp(7, netip.AddrPortFrom(vps.addr, 443), "again")
	if _, _, got := vps.hears(soon); got != "again" {
		t.Errorf("%q", got)
	}
}

// TestNames: the one name leads to the machine, no other exists.
func TestNames(t *testing.T) {
	l := newLab(t, Link{})
	pi := l.plug("home-pi", "home")
	pi.boots()
	ask := func(name string, kind dnsmessage.Type) dnsmessage.Message {
		t.Helper()
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		pi.udp(5353, netip.AddrPortFrom(pi.router, 53), string(b))
		_, _, text := pi.hears(soon)
		var answer dnsmessage.Message
		if err := answer.Unpack([]byte(text)); err != nil || answer.ID != 7 || !answer.Response {
			t.Fatalf("%v: %v", err, answer)
		}
		return answer
	}
	if m := ask("headscale.example.net.", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("before the machine is there: %v", m)
	}
	vps := l.plug("vps", Public)
	if m := ask("Headscale.Example.net.", dnsmessage.TypeA); len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.AResource).A != vps.addr.As4() {
		t.Errorf("%v", m)
	}
	if m := ask("headscale.example.net.", dnsmessage.TypeAAAA); m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 0 {
		t.Errorf("by IPv6: %v", m)
	}
	if m := ask("deb.debian.org.", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("%v", m)
	}
}

// TestTime: a time server says the time of this computer.
func TestTime(t *testing.T) {
	pi := newLab(t, Link{}).plug("home-pi", "home")
	pi.boots()
	question := make([]byte, 48)
	question[0], question[40] = 4<<3|3, 9
	pi.udp(123, netip.AddrPortFrom(pi.router, 123), string(question))
	_, _, a := pi.hears(soon)
	if len(a) != 48 || a[24] != 9 {
		t.Fatalf("%x", a)
	}
	said := time.Unix(int64(binary.BigEndian.Uint32([]byte(a[40:])))-2208988800, 0)
	if d := time.Since(said).Abs(); d > time.Minute {
		t.Errorf("off by %v", d)
	}
}

// TestGroup: a broadcast reaches a neighbour unchanged, whatever the router does with it.
func TestGroup(t *testing.T) {
	l := newLab(t, Link{})
	vps, pi := l.plug("vps", Public), l.plug("home-pi", "home")
	vps.boots()
	pi.boots()
	box := &host{t: t, mac: net.HardwareAddr{0x52, 0x54, 0, 0, 1, 1}, hearsAll: true}
	socket := filepath.Join(l.dir, "off") // frames that come before the machine is on have to wait
	if _, err := l.Plug("home-box", "home", box.mac, socket); err != nil {
		t.Fatal(err)
	}
	pi.to = broadcast
	pi.udp(7, netip.AddrPortFrom(vps.addr, 443), "hello")
	if from, _, got := vps.hears(soon); got != "hello" || !wan.Contains(from.Addr()) {
		t.Fatalf("%q from %v", got, from)
	}
	box.on(socket)
	if p, ok := box.packet(soon); !ok || p.src() != pi.addr || p[8] != 64 {
		t.Errorf("the neighbour got the router's: %v, %x", ok, []byte(p))
	}
}

// TestWAN: a round trip takes twice the configured delay, and the configured rate is not
// exceeded.
func TestWAN(t *testing.T) {
	const delay = 60 * time.Millisecond
	l := newLab(t, Link{Delay: delay, Rate: 4e6})
	vps, pi := l.plug("vps", Public), l.plug("home-pi", "home")
	vps.boots()
	pi.boots()
	at := netip.AddrPortFrom(vps.addr, 443)
	began := time.Now()
	pi.udp(7, at, "ping")
	from, _, _ := vps.hears(soon)
	vps.udp(443, from, "pong")
	if _, _, got := pi.hears(soon); got != "pong" || time.Since(began) < 2*delay {
		t.Errorf("%q after %v", got, time.Since(began))
	}
	const count, size = 100, 1250 // 1 Mbit in all
	began = time.Now()
	for range count {
		pi.udp(7, at, strings.Repeat("x", size))
	}
	for i := range count {
		if _, _, got := vps.hears(soon); got == "" {
			t.Fatalf("%d of %d came", i, count)
		}
	}
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("1 Mbit came in %v at 4 Mbit/s", took)
	}
}

// TestLoss: about as much is lost as was asked for, and nothing within a site.
func TestLoss(t *testing.T) {
	l := newLab(t, Link{Loss: 0.5})
	vps, pi, box := l.plug("vps", Public), l.plug("home-pi", "home"), l.plug("home-box", "home")
	for _, h := range []*host{vps, pi, box} {
		h.boots()
	}
	const count = 600
	router := pi.to
	pi.to = box.mac
	for i := range count {
		pi.udp(7, netip.AddrPortFrom(box.addr, 443), "x")
		if _, _, text := box.hears(soon); text != "x" {
			t.Fatalf("%d of %d came within the site", i, count)
		}
	}
	pi.to = router
	for range count {
		pi.udp(7, netip.AddrPortFrom(vps.addr, 443), "x")
	}
	got := 0
	for {
		if _, _, text := vps.hears(shortly); text == "" {
			break
		}
		got++
	}
	if got < count*2/5 || got > count*3/5 {
		t.Errorf("%d of %d came", got, count)
	}
}

func TestParseLink(t *testing.T) {
	for text, want := range map[string]Link{
		"": {}, "40ms,20mbit,1%": {40 * time.Millisecond, 20e6, 0.01}, "1%, 40ms": {Delay: 40 * time.Millisecond, Loss: 0.01}, "500kbit": {Rate: 500e3}, "0.5%": {Loss: 0.005},
	} {
		if got, err := ParseLink(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"40", "-1ms", "20mb", "0mbit", "101%", "x%", "NaN%", "40ms,,1%", "2h"} {
		if got, err := ParseLink(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestHostile: whatever a machine sends, the network goes on.
func TestHostile(t *testing.T) {
	l := newLab(t, Link{})
	pi := l.plug("home-pi", "home")
	pi.boots()
	whole := newUDP(netip.AddrPortFrom(pi.addr, 7), netip.MustParseAddrPort("203.0.113.10:53"), []byte("x"))
	for _, to := range []net.HardwareAddr{pi.to, broadcast} {
		for cut := range len(whole) {
			pi.send(to, typeIPv4, whole[:cut])
			pi.send(to, typeARP, whole[:cut])
		}
	}
	for port := range uint16(200) { // each service, with nothing and with rubbish
		pi.udp(7, netip.AddrPortFrom(pi.router, port), "")
		pi.udp(7, netip.AddrPortFrom(pi.router, port), strings.Repeat("\xff", 300))
	}
	if _, err := pi.conn.Write([]byte{0, 0, 0, 0, 0, 0, 0, 1, 9}); err != nil {
		t.Fatal(err)
	}
	for { // NTP answers rubbish, too
		if _, _, ok := pi.receive(shortly); !ok {
			break
		}
	}
	pi.arp(pi.router)
}

func TestNewRefuses(t *testing.T) {
	for _, prefix := range []string{"192.168.1.0/30", "fd00::/64"} {
		if _, err := New(Config{Sites: map[string]netip.Prefix{"home": netip.MustParsePrefix(prefix)}}); err == nil {
			t.Errorf("%s was taken", prefix)
		}
	}
}

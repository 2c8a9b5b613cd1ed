//go:build linux

package acmetest

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a name server with one address for each name, and no other names.
type names struct {
	mu    sync.Mutex
	leads map[string]netip.Addr // by "NAME."
}

// leads makes a name resolve to an address.
func (w *world) leads(name, address string) {
	w.names.mu.Lock()
	defer w.names.mu.Unlock()
	w.names.leads[name+"."] = netip.MustParseAddr(address)
}

// serveNames answers over UDP and TCP: Pebble uses TCP only.
func (w *world) serveNames() {
	w.t.Helper()
	w.names = &names{leads: map[string]netip.Addr{}}
	var packets net.PacketConn
	var l net.Listener
	if err := w.within(func() (err error) {
		if packets, err = net.ListenPacket("udp", worldAddress+":53"); err == nil {
			l, err = net.Listen("tcp", worldAddress+":53")
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { packets.Close(); l.Close() })
	go w.names.datagrams(packets)
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			go w.names.stream(conn)
		}
	}()
}

func (n *names) datagrams(c net.PacketConn) {
	buf := make([]byte, 512)
	for {
		size, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer, err := n.answer(buf[:size]); err == nil {
			_, _ = c.WriteTo(answer, from)
		}
	}
}

// stream handles DNS over TCP, with the length before each message (RFC 1035, 4.2.2).
func (n *names) stream(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	for {
		var size uint16
		if binary.Read(c, binary.BigEndian, &size) != nil {
			return
		}
		buf := make([]byte, size)
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		answer, err := n.answer(buf)
		if err != nil {
			return
		}
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

func (n *names) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil, io.ErrUnexpectedEOF
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	at, ok := n.leads[q.Name.String()]
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
	} else if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: at.As4()}}}
	}
	return m.Pack()
}

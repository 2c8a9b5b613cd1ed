package network

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
)

// port is one machine's port on a switch. On the socket each frame is preceded by its length
// in 32 bits, big endian (QEMU, net/stream.c).
type port struct {
	mac      net.HardwareAddr
	addr     netip.Addr
	listener net.Listener
	frames   chan []byte // to the machine

	mu     sync.Mutex
	conn   net.Conn // the connection of the machine that is on
	closed bool
}

// queue is how many frames may wait for a busy machine; more are dropped.
const queue = 1024

// maxFrame is the largest frame that QEMU sends, in bytes (NET_BUFSIZE).
const maxFrame = 4096 + 65536

func newPort(mac net.HardwareAddr, addr netip.Addr, l net.Listener) *port {
	return &port{mac: mac, addr: addr, listener: l, frames: make(chan []byte, queue)}
}

func (p *port) send(frame []byte) {
	select {
	case p.frames <- frame:
	default:
	}
}

// serve accepts one connection after the other, as a machine may be switched off and on
// again.
func (p *port) serve(at *place) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.connected(conn) {
			conn.Close()
			return
		}
		gone := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() { p.write(conn, gone) })
		p.read(conn, at)
		close(gone)
		conn.Close()
		writer.Wait()
	}
}

// connected records the connection. It returns false if the port has been closed meanwhile.
func (p *port) connected(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = conn
	return !p.closed
}

func (p *port) read(conn net.Conn, at *place) {
	r := bufio.NewReaderSize(conn, 1<<16)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(head[:])
		if size > maxFrame {
			return
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		at.frame(p, frame)
	}
}

// write sends the machine's frames until gone is closed.
func (p *port) write(conn net.Conn, gone <-chan struct{}) {
	for {
		select {
		case <-gone:
			return
		case f := <-p.frames:
			b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(f)), uint32(len(f)))
			if _, err := conn.Write(append(b, f...)); err != nil {
				return
			}
		}
	}
}

func (p *port) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	err := p.listener.Close()
	if p.conn != nil {
		_ = p.conn.Close() // the machine may have closed it already
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

//go:build linux

package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// batch is how many ports are probed at once.
const batch = 8000

func scan(args []string) error {
	flags := flag.NewFlagSet("scan", flag.ContinueOnError)
	from := flags.String("from", "", "address to ask from")
	wait := flags.Duration("wait", 300*time.Millisecond, "how long to wait for an answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := scanner{kind: unix.SOCK_STREAM, wait: *wait}
	if flags.Arg(0) == "udp" {
		s.kind = unix.SOCK_DGRAM
	}
	var err error
	if s.to, err = netip.ParseAddr(flags.Arg(1)); err != nil {
		return err
	}
	if *from != "" {
		if s.from, err = netip.ParseAddr(*from); err != nil {
			return err
		}
	}
	ports, err := parsePorts(flags.Args()[2:])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for len(ports) > 0 {
		some := ports[:min(batch, len(ports))]
		ports = ports[len(some):]
		answers, err := s.ask(some)
		if err != nil {
			return err
		}
		for i, answer := range answers {
			if answer != "" {
				fmt.Fprintln(out, some[i], answer)
			}
		}
	}
	return nil
}

func parsePorts(args []string) (ports []int, err error) {
	for _, a := range args {
		from, to, isRange := strings.Cut(a, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%q is no port", a)
		}
		for p := first; p <= last; p++ {
			ports = append(ports, int(p))
		}
	}
	return ports, nil
}

// scanner probes with non-blocking sockets: one thread, thousands of ports, and no port waits for
// the silence of another.
type scanner struct {
	kind     int
	from, to netip.Addr
	wait     time.Duration
}

// ask returns the answer of each port within the time limit, "" for none.
func (s *scanner) ask(ports []int) ([]string, error) {
	answers := make([]string, len(ports))
	polls := make([]unix.PollFd, len(ports))
	for i, port := range ports {
		fd, err := s.dial(port)
		if err != nil {
			return nil, fmt.Errorf("port %d: %w", port, err)
		}
		defer unix.Close(fd)
		polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}
		if s.kind == unix.SOCK_DGRAM {
			polls[i].Events = unix.POLLIN
		}
	}
	silent := len(ports)
	for end := time.Now().Add(s.wait); silent > 0 && time.Now().Before(end); {
		n, err := unix.Poll(polls, 1+int(time.Until(end).Milliseconds()))
		if err != nil && err != unix.EINTR {
			return nil, err
		}
		for i := range polls {
			if n <= 0 || polls[i].Revents == 0 {
				continue
			}
			answers[i] = answer(int(polls[i].Fd))
			polls[i].Fd = -1 // poll(2) ignores it
			silent--
		}
	}
	return answers, nil
}

func answer(fd int) string {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return err.Error()
	case errno == 0:
		return "open"
	case unix.Errno(errno) == unix.ECONNREFUSED:
		return "closed"
	}
	return unix.Errno(errno).Error()
}

// dial begins a connection, or sends one datagram.
func (s *scanner) dial(port int) (fd int, err error) {
	family := unix.AF_INET
	if s.to.Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, s.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if s.from.IsValid() {
		err = unix.Bind(fd, sockaddr(s.from, 0))
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(s.to, port))
	}
	if err == nil && s.kind == unix.SOCK_DGRAM {
		_, err = unix.Write(fd, []byte("?"))
	}
	if err != nil && err != unix.EINPROGRESS && err != unix.ECONNREFUSED {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	to := &unix.SockaddrInet6{Port: port, Addr: a.As16()}
	if i, err := net.InterfaceByName(a.Zone()); err == nil {
		to.ZoneId = uint32(i.Index)
	}
	return to
}

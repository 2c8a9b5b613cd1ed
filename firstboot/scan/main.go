//go:build linux

// Scan probes a machine's ports from outside, for tests of the firewall.
//
//	scan [-from ADDR] [-wait 300ms] tcp|udp ADDR PORT|FROM-TO…
//
// prints the ports that answered, one per line, in their order: "22 open" if the connection was
// accepted or a datagram came back, "23 closed" if the machine itself refused. A port that is not
// printed was silent, as a firewall makes it.
//
//	scan listen tcp:PORT|udp:PORT…
//
// is the other side: it accepts connections, sends datagrams back, prints "ready", and ends when
// its standard input ends.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	err := errors.New("usage: scan tcp|udp ADDR PORT|FROM-TO… | listen tcp:PORT|udp:PORT…")
	switch args := os.Args[1:]; {
	case len(args) > 1 && args[0] == "listen":
		err = listen(args[1:])
	case len(args) > 2:
		err = scan(args)
	}
	if err != nil {
		log.Fatal("scan: ", err)
	}
}

func listen(services []string) error {
	for _, s := range services {
		network, port, _ := strings.Cut(s, ":")
		var err error
		switch network {
		case "tcp":
			err = takeConnections(":" + port)
		case "udp":
			err = sendBack(":" + port)
		default:
			err = fmt.Errorf("what is %q?", s)
		}
		if err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func takeConnections(at string) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				log.Fatal(err)
			}
			c.Close()
		}
	}()
	return nil
}

func sendBack(at string) error {
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	go func() {
		for buf := make([]byte, 64); ; {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				log.Fatal(err)
			}
			_, _ = c.WriteTo(buf[:n], from) // the scanner may be gone already
		}
	}()
	return nil
}

//go:build linux

// Scan looks at a machine's ports from outside, for tests of the firewall.
//
//	scan [-from ADDR] [-wait 300ms] tcp|udp ADDR PORT|FROM-TO…
//
// prints what answered, one port a line in their order: "22 open" where somebody took the
// connection, or sent a datagram back, "23 closed" where the machine itself
// said no. A port that is not printed was silent, and that is what a firewall
// makes of it.
//
//	scan listen tcp:PORT|udp:PORT…
//
// is the other side: it takes connections, sends datagrams back, says "ready",
// and ends with its standard input.
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
			_, _ = c.WriteTo(buf[:n], from) // a scanner may be gone already
		}
	}()
	return nil
}

// Package vps is the way to the machine with role control, which runs the fleet's own
// Headscale: an ssh login as root with the keys made for it at home. It talks only to the
// machine that shows the host key made for it, and runs commands there. What the commands are
// for is its callers' business.
package vps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Place is where the machine's ssh is.
type Place struct {
	Host, Port string
	// Flag is how the user names another place, for errors; "" if that is not possible.
	Flag string
}

// Otherwise is the way out for errors that ask whether the name leads to the machine.
func (p Place) Otherwise() string {
	if p.Flag == "" {
		return ""
	}
	return " (if not: " + p.Flag + ")"
}

// Find returns the place that an address (HOST or HOST:PORT) names, or fleet.yaml if it is "".
// The address was given, or could have been, by the flag.
func Find(f *fleet.Fleet, address, flag string) (Place, error) {
	if address == "" {
		u, err := url.Parse(f.Cluster.Headscale.URL)
		if err != nil {
			return Place{}, err
		}
		return Place{u.Hostname(), "22", flag}, nil
	}
	if host, port, err := net.SplitHostPort(address); err == nil && host != "" {
		return Place{host, port, flag}, nil
	}
	return Place{strings.Trim(address, "[]"), "22", flag}, nil
}

// Ask runs a command on the machine, with an input (nil for none), and returns what the command
// printed.
func Ask(ctx context.Context, f *fleet.Fleet, at Place, command string, input io.Reader) (string, error) {
	sh, err := Dial(ctx, f, at)
	if err != nil {
		return "", err
	}
	defer sh.Close()
	return sh.Run(ctx, command, input)
}

// AskMember is Ask at the machine's address in the tailnet, or at its public name if there
// is no such address or this computer cannot reach it.
func AskMember(ctx context.Context, f *fleet.Fleet, address netip.Addr, command string, input io.Reader) (string, error) {
	sh, err := reach(ctx, f, address)
	if err != nil {
		return "", err
	}
	defer sh.Close()
	return sh.Run(ctx, command, input)
}

// Shell is an ssh login as root.
type Shell struct{ client *ssh.Client }

// Close ends the login.
func (s *Shell) Close() { _ = s.client.Close() }

// dialTime bounds connecting and logging in.
const dialTime = 30 * time.Second

// errStranger means that another machine answered.
var errStranger = errors.New("another ssh host key than the one made for it")

// Dial logs in to the machine, but only if it shows the host key made at home.
func Dial(ctx context.Context, f *fleet.Fleet, at Place) (*Shell, error) {
	host, login, err := f.ControlKeys()
	if err != nil {
		return nil, err
	}
	config := &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(login)}, Timeout: dialTime,
		// The machine also has a host key of another type, which is not known here.
		HostKeyAlgorithms: []string{host.PublicKey().Type()},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if !bytes.Equal(key.Marshal(), host.PublicKey().Marshal()) {
				return errStranger
			}
			return nil
		},
	}
	name, address := f.Control(), net.JoinHostPort(at.Host, at.Port)
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer at %s (%w): is it switched on, does the name lead to it%s, and does its provider let ssh in?", name, address, err, at.Otherwise())
	}
	_ = conn.SetDeadline(time.Now().Add(dialTime))
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		_ = conn.Close() // it may be already
		if ctx.Err() != nil {
			return nil, fmt.Errorf("log in to %s at %s: %w", name, address, ctx.Err())
		}
		return nil, refused(name, address, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return &Shell{ssh.NewClient(c, channels, requests)}, nil
}

// memberTime bounds a login at the machine's address in the tailnet.
const memberTime = 10 * time.Second

// reach logs in at the machine's address in the tailnet, else at its public name. From a
// computer outside of the tailnet the address leads nowhere or to a stranger, who learns
// nothing, as the host key is checked first. The public name works from anywhere.
func reach(ctx context.Context, f *fleet.Fleet, member netip.Addr) (*Shell, error) {
	public, err := Find(f, "", "")
	if err != nil {
		return nil, err
	}
	if !member.IsValid() {
		return Dial(ctx, f, public)
	}
	near, end := context.WithTimeout(ctx, memberTime)
	defer end()
	sh, err := Dial(near, f, Place{Host: member.String(), Port: "22"})
	if err == nil || ctx.Err() != nil {
		return sh, err
	}
	sh, outside := Dial(ctx, f, public)
	switch {
	case outside == nil:
		return sh, nil
	case outside.Error() == err.Error(): // both ways failed alike: the machine answered, and refused the login
		return nil, err
	}
	return nil, fmt.Errorf("%w; and %w", err, outside)
}

// refused explains why a login failed.
func refused(name, address string, err error) error {
	switch {
	case errors.Is(err, errStranger), strings.Contains(err.Error(), "no common algorithm for host key"):
		return fmt.Errorf("the machine at %s is not %s: it shows %w; nothing was told to it. If it is meant to be, write its card again (imagebuilder flash --node %s)", address, name, errStranger, name)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%s does not take the key of cluster.headscale.server.loginKey: was its card written with another one? (%w)", name, err)
	}
	return fmt.Errorf("log in to %s at %s: %w", name, address, err)
}

// Run runs a command with an input and returns what it printed. The error is what the
// command wrote to standard error; it never contains the input, which may be a secret.
func (s *Shell) Run(ctx context.Context, command string, input io.Reader) (string, error) {
	// Set this up before the first request: on a dead connection that request would not
	// return, either.
	defer context.AfterFunc(ctx, func() { _ = s.client.Close() })()
	session, err := s.client.NewSession()
	if err != nil {
		return "", errors.Join(ctx.Err(), err)
	}
	defer session.Close()
	var stdout, stderr Output
	session.Stdin, session.Stdout, session.Stderr = input, &stdout, &stderr
	if err := session.Run(command); err != nil {
		return "", errors.Join(ctx.Err(), fmt.Errorf("%s: %w", LastLine(string(stderr.Bytes())), err))
	}
	return string(stdout.Bytes()), nil
}

// LastLine returns the last line of an output: what a command has to say after all notices.
func LastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

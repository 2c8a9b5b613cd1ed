package control

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

// Address is where the machine is reached while the name in fleet.yaml does not lead there.
// The zero value means that name.
type Address struct {
	SSH string // HOST or HOST:PORT
	// APIPort is the port of Headscale's API on that host, "" for the port in fleet.yaml.
	APIPort string
	// Flag is how the user names such an address, for errors; "" if that is not possible.
	Flag string
}

// location is where the machine is.
type location struct {
	host, port string // of ssh
	api        string // the port of the API, "" for the one in fleet.yaml
	explicit   bool   // an address was given, in place of the name in fleet.yaml
	flag       string // see Address
}

// otherwise is the way out for errors that ask whether the name leads to the machine.
func (l location) otherwise() string {
	if l.flag == "" {
		return ""
	}
	return " (if not: " + l.flag + ")"
}

func place(f *fleet.Fleet, at Address) (location, error) {
	if at.SSH == "" {
		u, err := url.Parse(f.Cluster.Headscale.URL)
		if err != nil {
			return location{}, err
		}
		return location{host: u.Hostname(), port: "22", flag: at.Flag}, nil
	}
	if host, port, err := net.SplitHostPort(at.SSH); err == nil && host != "" {
		return location{host, port, at.APIPort, true, at.Flag}, nil
	}
	return location{strings.Trim(at.SSH, "[]"), "22", at.APIPort, true, at.Flag}, nil
}

// shell is an ssh login as root.
type shell struct{ client *ssh.Client }

func (s *shell) close() { _ = s.client.Close() }

// dialTime bounds connecting and logging in.
const dialTime = 30 * time.Second

// errStranger means that another machine answered.
var errStranger = errors.New("another ssh host key than the one made for it")

// dial logs in to the machine, but only if it shows the host key made at home.
func (s *server) dial(ctx context.Context) (*shell, error) {
	host, login, err := s.fleet.ControlKeys()
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
	address := net.JoinHostPort(s.at.host, s.at.port)
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer at %s (%w): is it switched on, does the name lead to it%s, and does its provider let ssh in?", s.name, address, err, s.at.otherwise())
	}
	_ = conn.SetDeadline(time.Now().Add(dialTime))
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		_ = conn.Close() // it may be already
		if ctx.Err() != nil {
			return nil, fmt.Errorf("log in to %s at %s: %w", s.name, address, ctx.Err())
		}
		return nil, s.refused(address, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return &shell{ssh.NewClient(c, channels, requests)}, nil
}

// memberTime bounds a login at the machine's address in the tailnet.
const memberTime = 10 * time.Second

// reach logs in at the machine's address in the tailnet, else at its public name. From a
// computer outside of the tailnet the address leads nowhere or to a stranger, who learns
// nothing, as the host key is checked first. The public name works from anywhere.
func reach(ctx context.Context, f *fleet.Fleet, member netip.Addr) (*shell, error) {
	at, err := place(f, Address{})
	if err != nil {
		return nil, err
	}
	public := &server{fleet: f, name: f.Control(), at: at}
	if !member.IsValid() {
		return public.dial(ctx)
	}
	near, end := context.WithTimeout(ctx, memberTime)
	defer end()
	sh, err := (&server{fleet: f, name: f.Control(), at: location{host: member.String(), port: "22"}}).dial(near)
	if err == nil || ctx.Err() != nil {
		return sh, err
	}
	sh, outside := public.dial(ctx)
	switch {
	case outside == nil:
		return sh, nil
	case outside.Error() == err.Error(): // both ways failed alike: the machine answered, and refused the login
		return nil, err
	}
	return nil, fmt.Errorf("%w; and %w", err, outside)
}

// refused explains why a login failed.
func (s *server) refused(address string, err error) error {
	switch {
	case errors.Is(err, errStranger), strings.Contains(err.Error(), "no common algorithm for host key"):
		return fmt.Errorf("the machine at %s is not %s: it shows %w; nothing was told to it. If it is meant to be, write its card again (imagebuilder flash --node %s)", address, s.name, errStranger, s.name)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%s does not take the key of cluster.headscale.server.loginKey: was its card written with another one? (%w)", s.name, err)
	}
	return fmt.Errorf("log in to %s at %s: %w", s.name, address, err)
}

// run runs a command with an input and returns what it printed. The error is what the
// command wrote to standard error; it never contains the input, which may be a secret.
func (s *shell) run(ctx context.Context, command string, input io.Reader) (string, error) {
	// Set this up before the first request: on a dead connection that request would not
	// return, either.
	defer context.AfterFunc(ctx, func() { _ = s.client.Close() })()
	session, err := s.client.NewSession()
	if err != nil {
		return "", errors.Join(ctx.Err(), err)
	}
	defer session.Close()
	var stdout, stderr Answer
	session.Stdin, session.Stdout, session.Stderr = input, &stdout, &stderr
	if err := session.Run(command); err != nil {
		return "", errors.Join(ctx.Err(), fmt.Errorf("%s: %w", lastLine(string(stderr.Bytes())), err))
	}
	return string(stdout.Bytes()), nil
}

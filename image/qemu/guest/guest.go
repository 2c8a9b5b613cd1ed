// Package guest drives a running QEMU guest for tests and measurements: its serial line,
// commands over ssh, its screen, its power.
//
// It knows nothing about what an image should do. It never waits without a limit, and ends
// only the process it started.
package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/image/qemu"
)

// Guest is one running machine.
type Guest struct {
	cmd    *exec.Cmd
	config qemu.Config
	signer ssh.Signer
	stdin  io.Writer
	ended  chan struct{}
	result error

	mu      sync.Mutex
	client  *ssh.Client // of the last command
	serial  bytes.Buffer
	changed chan struct{}
}

// Start switches a machine on. With a signer, Run logs in over c.SSHPort as root.
func Start(ctx context.Context, c qemu.Config, signer ssh.Signer) (*Guest, error) {
	cmd, err := qemu.Command(ctx, c)
	if err != nil {
		return nil, err
	}
	g := &Guest{cmd: cmd, config: c, signer: signer, ended: make(chan struct{}), changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = g, g
	if g.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	attended, leave := context.WithCancel(ctx)
	go qemu.Attend(attended, c)
	go func() {
		g.result = cmd.Wait()
		leave()
		close(g.ended)
	}()
	return g, nil
}

// Write records the serial line's output; it makes Guest the process's standard output.
func (g *Guest) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serial.Write(p)
	close(g.changed)
	g.changed = make(chan struct{})
	return len(p), nil
}

// Type sends text to the serial line.
func (g *Guest) Type(text string) error {
	_, err := io.WriteString(g.stdin, text)
	return err
}

// Serial returns all that the serial line has shown, terminal codes removed.
func (g *Guest) Serial() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return plain(g.serial.String())
}

var terminalCodes = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78cM]|\][^\x07\x1b]*(\x07|\x1b\\))`)

func plain(s string) string {
	return strings.ReplaceAll(terminalCodes.ReplaceAllString(s, ""), "\r", "")
}

// WaitSerial waits until pattern appears on the serial line and returns its submatches. If
// the guest ends first, the error shows its last lines.
func (g *Guest) WaitSerial(ctx context.Context, pattern string) ([]string, error) {
	re := regexp.MustCompile(pattern)
	for {
		g.mu.Lock()
		changed := g.changed
		text := plain(g.serial.String())
		g.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m, nil
		}
		select {
		case <-changed:
		case <-g.ended:
			return nil, fmt.Errorf("the guest ended before %q appeared; its last words:\n%s", pattern, g.Tail(40))
		case <-ctx.Done():
			return nil, fmt.Errorf("%w while waiting for %q; the last lines:\n%s", ctx.Err(), pattern, g.Tail(40))
		}
	}
}

// Tail returns the last n lines of the serial line.
func (g *Guest) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(g.Serial(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Run executes a shell command as root over ssh; it waits for the guest to answer first. The
// output contains both streams.
func (g *Guest) Run(ctx context.Context, command string) (string, error) {
	client, session, err := g.session(ctx)
	if err != nil {
		return "", err
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	out, err := session.CombinedOutput(command)
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// session reuses the previous command's connection if it still works: on an emulated
// processor a handshake takes seconds.
func (g *Guest) session(ctx context.Context) (*ssh.Client, *ssh.Session, error) {
	g.mu.Lock()
	client := g.client
	g.mu.Unlock()
	if client != nil {
		if s, err := openSession(ctx, client); err == nil {
			return client, s, nil
		}
		client.Close()
	}
	client, s, err := g.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	g.client = client
	g.mu.Unlock()
	return client, s, nil
}

// openSession bounds the check whether a connection still works.
func openSession(ctx context.Context, client *ssh.Client) (*ssh.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	return client.NewSession()
}

// dial tries until the guest answers. A guest that is still starting may complete the
// handshake, and then not answer for longer than openSession waits.
func (g *Guest) dial(ctx context.Context) (*ssh.Client, *ssh.Session, error) {
	for {
		client, err := g.tryDial(ctx)
		if err == nil {
			var s *ssh.Session
			if s, err = openSession(ctx, client); err == nil {
				return client, s, nil
			}
			client.Close()
		}
		select {
		case <-time.After(time.Second):
		case <-g.ended:
			return nil, nil, fmt.Errorf("the guest ended before SSH answered; its last words:\n%s", g.Tail(40))
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%w while waiting for SSH (%w); the last lines:\n%s", ctx.Err(), err, g.Tail(40))
		}
	}
}

// handshakeLimit is generous: an emulated Pi takes seconds for its signatures.
const handshakeLimit = 30 * time.Second

// tryDial bounds the wait for the server's first byte: QEMU accepts every connection, and
// keeps it open without an answer until the guest has a network. The handshake has a
// separate limit: if it is aborted, the server writes an error into the guest's journal.
func (g *Guest) tryDial(ctx context.Context) (*ssh.Client, error) {
	addr := net.JoinHostPort("127.0.0.1", fmt.Sprint(g.config.SSHPort))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client, err := g.handshake(&peekedConn{conn, bufio.NewReader(conn)}, addr)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return client, nil
}

func (g *Guest) handshake(conn *peekedConn, addr string) (*ssh.Client, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return nil, err
	}
	if _, err := conn.reader.Peek(1); err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(g.signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the host key is made at first boot, and the connection stays within QEMU
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), conn.SetDeadline(time.Time{})
}

// peekedConn is a connection whose first byte was read ahead.
type peekedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *peekedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// PowerOff asks the guest to shut down and waits for it to do so.
func (g *Guest) PowerOff(ctx context.Context) error {
	// The connection breaks on success.
	if _, err := g.Run(ctx, "systemctl poweroff --no-block"); err != nil && !connectionLost(err) {
		return err
	}
	return g.Wait(ctx)
}

func connectionLost(err error) bool {
	var missing *ssh.ExitMissingError
	return errors.As(err, &missing) || errors.Is(err, io.EOF)
}

// Wait returns when the guest has ended by itself.
func (g *Guest) Wait(ctx context.Context) error {
	select {
	case <-g.ended:
		return g.result
	case <-ctx.Done():
		return fmt.Errorf("%w while waiting for the guest to end; the last lines:\n%s", ctx.Err(), g.Tail(40))
	}
}

// PID is the process ID of the machine's QEMU.
func (g *Guest) PID() int { return g.cmd.Process.Pid }

// Ended tells whether the machine is off.
func (g *Guest) Ended() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// Kill cuts the power: nothing is flushed, and the guest is not told.
func (g *Guest) Kill() {
	if !g.Ended() {
		_ = g.cmd.Process.Kill()
	}
	<-g.ended
}

// Package inquiry asks nodes what they say of themselves ("firstboot status"),
// over ssh, as their owner would by hand.
//
// It runs the owner's own ssh, with its keys, agent and settings; the machine
// that runs Headscale is asked with the keys made for it at home, in the tailnet or,
// from a computer that is not in it, where its name leads. It asks for no
// password, takes a node's host key as it was first seen, refuses another one
// later, and keeps whatever a node answers from moving a cursor: a stolen card
// may be whoever answers. A node that cannot be asked has nothing to say.
package inquiry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Answer is what a node says of itself.
type Answer struct {
	State   string `json:"state"`
	Version string `json:"version,omitempty"` // of firstboot
	Slot    string `json:"slot,omitempty"`
	// Image is the version of what runs, Made its time.
	Image string    `json:"image,omitempty"`
	Made  time.Time `json:"made,omitzero"`
	// Good is the slot that starts when no trial is under way, Trial the one on
	// trial, Tries what that has left.
	Good  string `json:"good,omitempty"`
	Trial string `json:"trial,omitempty"`
	Tries int    `json:"tries,omitempty"`
	// Problem and Remedy are the node's words for a person; Notice is wrong, but
	// not in the way.
	Problem string `json:"problem,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	Notice  string `json:"notice,omitempty"`
	// Silent says why the node could not be asked.
	Silent string `json:"silent,omitempty"`
}

// Words are what is wrong with the node, in its own words; none if nothing is.
func (r Answer) Words() (out []string) {
	if r.State != "" && r.State != contract.StateJoined {
		out = append(out, "it says that it is "+r.State)
	}
	if r.Problem != "" {
		out = append(out, r.Problem+" "+r.Remedy)
	}
	if r.Notice != "" {
		out = append(out, r.Notice)
	}
	return out
}

// Well says that the node is a working part, and keeps what it runs. An older image does
// not tell of slots; it says that it has joined when it is blessed.
func (r Answer) Well() bool {
	return r.Silent == "" && r.State == contract.StateJoined && (r.Image == "" || r.Good == r.Slot)
}

// Line is how it is, for a person.
func (r Answer) Line() string {
	all := r.Words()
	switch {
	case r.Silent != "":
		return "it cannot be asked: " + r.Silent
	case r.State == "":
		return "it is offline"
	case r.Image != "" && r.Good != r.Slot:
		all = append(all, "slot "+r.Slot+" is still on trial")
	}
	if len(all) == 0 {
		return "it says that it is well"
	}
	return strings.Join(all, "; ")
}

// Subject is whom to ask.
type Subject struct {
	Node    string
	Number  string     // Headscale's; a machine in its place has another
	Joined  time.Time  // since when it is a member; a Headscale that began anew gives numbers again
	Address netip.Addr // may be left out for the machine that runs Headscale: its name leads to it
}

// alias is the name for which a file has the node's host key. One of before names had the
// time in them stays good: it would be as if nobody had ever seen that node.
func (s Subject) alias(ctx context.Context, known string) string {
	timeless := s.Node + "." + s.Number
	if s.Joined.IsZero() || exec.CommandContext(ctx, "ssh-keygen", "-F", timeless, "-f", known).Run() == nil { // names may be hashed
		return timeless
	}
	return fmt.Sprintf("%s.%d", timeless, s.Joined.Unix())
}

// askTime bounds all of it, as all nodes are asked at once: a Pi that is busy takes
// seconds for a login.
const askTime = 20 * time.Second

// Ask asks all of them how they are.
func Ask(ctx context.Context, f *fleet.Fleet, subjects []Subject) []Answer {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return inquire(ctx, f, subjects, contract.AskStatus, Read, func(why string) Answer { return Answer{Silent: why} })
}

// inquire asks all at once, and reads what each answers.
func inquire[T any](ctx context.Context, f *fleet.Fleet, subjects []Subject, question string, read func([]byte) (T, error), silent func(why string) T) []T {
	out := make([]T, len(subjects))
	var all sync.WaitGroup
	for i, s := range subjects {
		all.Go(func() {
			text, err := Tell(ctx, f, s, question, nil)
			if err == nil {
				out[i], err = read(text)
			}
			if err != nil {
				out[i] = silent(plain(err.Error()))
			}
		})
	}
	all.Wait()
	return out
}

// No is what a command said that a node ran, and that failed.
type No struct{ Words string }

func (n *No) Error() string { return n.Words }

// SilentError says why a node could not be asked: of what was asked it tells nothing, and
// what the command was to do may be done.
type SilentError struct{ Why string }

func (e *SilentError) Error() string { return e.Why }

// Plain is an error in one line that moves no cursor. A SilentError stays one.
func Plain(err error) error {
	line := contract.PlainLine(err.Error())
	if silent := (*SilentError)(nil); errors.As(err, &silent) {
		return &SilentError{line}
	}
	return errors.New(line)
}

// Tell runs a command on a node, with an input, nil for none, and returns what it
// printed. The error is a *No where the node itself says so, and a *SilentError where
// the node did not hear it, or was not heard.
func Tell(ctx context.Context, f *fleet.Fleet, s Subject, command string, input io.Reader) ([]byte, error) {
	if s.Node == f.Control() {
		out, err := control.AskMember(ctx, f, s.Address, command, input)
		var exit *ssh.ExitError
		switch {
		case err == nil:
		case !errors.As(err, &exit):
			err = &SilentError{err.Error()}
		case exit.Signal() == "": // of what a signal ended nobody knows how far it came
			err = &No{err.Error()}
		}
		return []byte(out), err
	}
	return bySSH(ctx, filepath.Join(f.Dir(), fleet.SecretsDir, "known_hosts"), s, command, input)
}

// bySSH asks with the program of that name (ssh_config(5) has the options).
func bySSH(ctx context.Context, known string, s Subject, command string, input io.Reader) ([]byte, error) {
	args, alias := []string{"-T", "-l", "root"}, s.alias(ctx, known)
	for _, option := range []string{
		"BatchMode=yes", "ConnectTimeout=5", "ConnectionAttempts=1", "ServerAliveInterval=15", "LogLevel=ERROR",
		"StrictHostKeyChecking=accept-new", `UserKnownHostsFile="` + filepath.ToSlash(known) + `"`,
		"HostKeyAlias=" + alias, "CheckHostIP=no",
		"ClearAllForwardings=yes", "ForwardAgent=no", "ControlMaster=no", "ControlPath=none",
	} {
		args = append(args, "-o", option)
	}
	cmd := exec.CommandContext(ctx, "ssh", append(args, s.Address.String(), command)...)
	cmd.WaitDelay = time.Second
	cmd.Stdin = input // of nil the null device: ssh must not read the terminal
	var out, faults control.Answer
	cmd.Stdout, cmd.Stderr = &out, &faults
	err := cmd.Run()
	switch {
	case err == nil:
		return out.Bytes(), nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, &SilentError{"there is no ssh on this computer"}
	case ctx.Err() != nil:
		return nil, &SilentError{"no answer in time"}
	case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == sshFailed:
		words := lastLine(string(faults.Bytes()), err)
		if strings.HasPrefix(words, "Host key verification failed") { // OpenSSH's words
			words += fmt.Sprintf(" Another machine answers, or its system was made anew. If you know that it was: ssh-keygen -R %s -f \"%s\"", alias, known)
		}
		return nil, &SilentError{words}
	}
	words := lastLine(string(faults.Bytes()), err)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return nil, &No{words}
	}
	return nil, errors.New(words)
}

// sshFailed is ssh's own exit status; any other is the command's (ssh(1), "EXIT STATUS").
const sshFailed = 255

func lastLine(text string, err error) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return err.Error()
}

// Read reads an answer to contract.AskStatus.
func Read(answer []byte) (r Answer, err error) {
	status, err := contract.ParseStatus(answer)
	if err != nil {
		return r, err
	}
	return Answer{State: plain(status.State), Version: plain(status.Program), Slot: plain(status.Slot),
		Image: plain(status.Image), Made: status.Made, Good: plain(status.Good), Trial: plain(status.Trial), Tries: status.Tries,
		Problem: plain(status.Problem.Summary), Remedy: plain(status.Problem.Remedy), Notice: plain(status.Notice.Summary)}, nil
}

// maxWords is the longest text that is passed on, in characters.
const maxWords = 500

// plain is what a machine says that may be in other hands, cut to a bearable length.
func plain(s string) string {
	words := []rune(contract.PlainLine(s))
	return string(words[:min(len(words), maxWords)])
}

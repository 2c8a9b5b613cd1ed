// Package inquiry asks nodes for their own status ("firstboot status") over ssh, as their
// owner would by hand. Other commands reach them the same way (Tell).
//
// It runs the owner's own ssh program, with its keys, agent and settings. The machine that
// runs Headscale is asked with the keys made for it at home: at its address in the tailnet
// or, from a computer outside of the tailnet, at its public name. The package never asks for
// a password. It accepts the host key that a node shows first, and refuses another one
// later. It removes control characters from all answers, so that they cannot move a
// terminal's cursor: a stolen card may be in the hands of anyone. A node that cannot be
// asked has an answer with the reason in Silent.
package inquiry

import (
	"cmp"
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
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/vps"
)

// Answer is what a node says about itself.
type Answer struct {
	State   string `json:"state"`
	Version string `json:"version,omitempty"` // of firstboot
	Slot    string `json:"slot,omitempty"`
	// Image is the version of the running image, Made the time at which it was built.
	Image string    `json:"image,omitempty"`
	Made  time.Time `json:"made,omitzero"`
	// Good is the slot that boots when no trial is under way, Trial the slot on trial, and
	// Tries the boot attempts that Trial has left.
	Good  string `json:"good,omitempty"`
	Trial string `json:"trial,omitempty"`
	Tries int    `json:"tries,omitempty"`
	// Problem and Remedy are the node's words for a person. Notice is something wrong that
	// does not keep the node from working.
	Problem string `json:"problem,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	Notice  string `json:"notice,omitempty"`
	// Silent says why the node could not be asked.
	Silent string `json:"silent,omitempty"`
}

// Words say what is wrong with the node, in its own words; nil if nothing is.
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

// Well says that the node works, and that the slot it runs is the good one. An older image
// does not report slots; it says that it has joined once its slot is marked good.
func (r Answer) Well() bool {
	return r.Silent == "" && r.State == contract.StateJoined && (r.Image == "" || r.Good == r.Slot)
}

// Line describes the answer in one line, for a person.
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

// Subject is a node to ask.
type Subject struct {
	Node    string
	Number  string     // Headscale's number of the node; a replacement gets another one
	Joined  time.Time  // when it joined; needed as a new Headscale counts from 1 again
	Address netip.Addr // may be zero for the machine that runs Headscale, which is also found by its name
}

// alias is the node's name in known_hosts. Older versions of this program used names without
// the time of joining. If the file has an entry under such a name, the name stays in use:
// otherwise the node's host key would count as never seen.
func (s Subject) alias(ctx context.Context, known string) string {
	timeless := s.Node + "." + s.Number
	if s.Joined.IsZero() || exec.CommandContext(ctx, "ssh-keygen", "-F", timeless, "-f", known).Run() == nil { // ssh-keygen finds hashed names, too
		return timeless
	}
	return fmt.Sprintf("%s.%d", timeless, s.Joined.Unix())
}

// askTime bounds a whole inquiry, as all nodes are asked at once: a busy Pi takes seconds
// for a login.
const askTime = 20 * time.Second

// Ask asks all subjects for their status.
func Ask(ctx context.Context, f *fleet.Fleet, subjects []Subject) []Answer {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return inquire(ctx, f, subjects, contract.AskStatus, Read, func(why string) Answer { return Answer{Silent: why} })
}

// inquire asks all subjects at once, and parses each answer.
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

// No is the error of a command that the node ran and that failed, in the command's words.
type No struct{ Words string }

func (n *No) Error() string { return n.Words }

// SilentError says why no answer came from a node. It is not known whether the command took
// effect.
type SilentError struct{ Why string }

func (e *SilentError) Error() string { return e.Why }

// Plain reduces an error to one line without control characters. A SilentError stays one.
func Plain(err error) error {
	line := contract.PlainLine(err.Error())
	if silent := (*SilentError)(nil); errors.As(err, &silent) {
		return &SilentError{line}
	}
	return errors.New(line)
}

// Tell runs a command on a node, with an input (nil for none), and returns what the command
// printed. The error is a *No if the command ran and failed, and a *SilentError if the
// command may not have reached the node, or its answer was lost.
func Tell(ctx context.Context, f *fleet.Fleet, s Subject, command string, input io.Reader) ([]byte, error) {
	if s.Node == f.Control() {
		out, err := vps.AskMember(ctx, f, s.Address, command, input)
		var exit *ssh.ExitError
		switch {
		case err == nil:
		case !errors.As(err, &exit):
			err = &SilentError{err.Error()}
		case exit.Signal() == "": // if a signal ended the command, nobody knows how far it came
			err = &No{err.Error()}
		}
		return []byte(out), err
	}
	return bySSH(ctx, filepath.Join(f.Dir(), fleet.SecretsDir, "known_hosts"), s, command, input)
}

// bySSH runs the command with the program ssh (options: ssh_config(5)).
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
	cmd.Stdin = input // nil means the null device: ssh must not read the terminal
	var out, faults vps.Output
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
		words := cmp.Or(vps.LastLine(string(faults.Bytes())), err.Error())
		if strings.HasPrefix(words, "Host key verification failed") { // OpenSSH's words
			words += fmt.Sprintf(" Another machine answers, or its system was made anew. If you know that it was: ssh-keygen -R %s -f \"%s\"", alias, known)
		}
		return nil, &SilentError{words}
	}
	words := cmp.Or(vps.LastLine(string(faults.Bytes())), err.Error())
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return nil, &No{words}
	}
	return nil, errors.New(words)
}

// sshFailed is the exit status of ssh's own failures; any other is the command's (ssh(1),
// "EXIT STATUS").
const sshFailed = 255

// Read parses an answer to contract.AskStatus.
func Read(answer []byte) (r Answer, err error) {
	status, err := contract.ParseStatus(answer)
	if err != nil {
		return r, err
	}
	return Answer{State: plain(status.State), Version: plain(status.Program), Slot: plain(status.Slot),
		Image: plain(status.Image), Made: status.Made, Good: plain(status.Good), Trial: plain(status.Trial), Tries: status.Tries,
		Problem: plain(status.Problem.Summary), Remedy: plain(status.Problem.Remedy), Notice: plain(status.Notice.Summary)}, nil
}

// maxWords is the length in characters at which a node's words are cut.
const maxWords = 500

// plain makes words of a node safe to print, and cuts them to maxWords. The node may be in
// the wrong hands.
func plain(s string) string {
	words := []rune(contract.PlainLine(s))
	return string(words[:min(len(words), maxWords)])
}

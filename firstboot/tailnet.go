package firstboot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// tailnet: the node runs as a member of its tailnet under its own name. The
// key is offered at every boot until then: tailscaled does not keep it.

const (
	tailscaled = "tailscaled.service"
	upTime     = 60 * time.Second
	answerTime = 20 * time.Second // for tailscaled to say something
	stateTime  = 5 * time.Second  // for it to read its own state
	// revivePause is the least time between two restarts of a tailscaled that
	// does not answer: each takes k3s down with it.
	revivePause = 10 * time.Minute
	revivedFile = runDir + "/tailscaled-revived" // its mtime is the last such restart
)

func (m *machine) tailnetDone(ctx context.Context) (bool, error) {
	st, err := m.Tailnet.Status(ctx)
	if err != nil { // it may just not have been started yet
		return false, nil
	}
	return running(st), m.checkName(st)
}

// running reports whether the node is up with an address.
func running(st TailnetStatus) bool {
	return st.State == "Running" && len(st.IPs) > 0 && !st.Asked
}

// checkName refuses a name that Headscale gave because this node's was taken:
// peers that look for this node would find the other one.
func (m *machine) checkName(st TailnetStatus) error {
	if running(st) && st.Name != "" && st.Name != m.cfg.Node {
		return problem("name-taken", m.cfg.Node, st.Name, m.cfg.Node)
	}
	return nil
}

func (m *machine) tailnetDo(ctx context.Context) error {
	st, err := m.daemon(ctx)
	if err != nil {
		return err
	}
	member := st.HaveKey && st.State != "NeedsLogin" && !st.Asked
	if !member && m.cfg.Headscale.AuthKey.Empty() {
		if m.cfg.Sealed {
			return problem("key-lost")
		}
		if m.cfg.Control != nil {
			return problem("control-waits")
		}
		return problem("key-missing")
	}
	join := Join{URL: m.cfg.Headscale.URL, Hostname: m.cfg.Node}
	if !member {
		join.Key = m.cfg.Headscale.AuthKey
	}
	if err := m.join(ctx, join); err != nil {
		return err
	}
	if st, err = m.Tailnet.Status(ctx); err != nil {
		return err
	}
	return m.checkName(st)
}

// daemon starts tailscaled and waits for it to answer. One that runs but does
// not answer is restarted: systemd sees nothing wrong with it.
func (m *machine) daemon(ctx context.Context) (TailnetStatus, error) {
	up, err := m.Units.Active(ctx, tailscaled)
	if err != nil {
		return TailnetStatus{}, err
	}
	if !up {
		if err := m.Units.Start(ctx, tailscaled); err != nil {
			return TailnetStatus{}, problem("tailscaled", err.Error()).because(err)
		}
	}
	for began := m.Clock.Now(); ; {
		st, err := m.Tailnet.Status(ctx)
		waited := m.Clock.Now().Sub(began)
		// NoState is a daemon that has not read its own state yet.
		if err == nil && (st.State != "NoState" || waited >= stateTime) {
			return st, nil
		}
		if waited >= answerTime {
			return st, problem("tailscaled", err.Error()).because(errors.Join(err, m.revive(ctx)))
		}
		if err := m.Clock.Sleep(ctx, time.Second); err != nil {
			return st, err
		}
	}
}

// revive restarts a tailscaled that systemd calls active but that answers
// nothing.
func (m *machine) revive(ctx context.Context) error {
	if ready, err := m.Units.Ready(ctx, tailscaled); err != nil || !ready {
		return err
	}
	if last, err := m.Files.Stat(revivedFile); err == nil {
		// A time in the future means that the clock was set back: the age is
		// unknown.
		if ago := m.Clock.Now().Sub(last.ModTime()); ago >= 0 && ago < revivePause {
			return nil
		}
	}
	if err := m.write(file{path: revivedFile, mode: 0o600}); err != nil {
		return err
	}
	return m.Units.Restart(ctx, tailscaled)
}

func (m *machine) join(ctx context.Context, j Join) error {
	limited, cancel := context.WithTimeout(ctx, upTime)
	defer cancel()
	// A member can run from what it remembers, without the server. A newcomer
	// is told at once what is wrong with the way to it.
	if !j.Key.Empty() {
		if p := m.controlFault(limited); p != nil {
			return p
		}
	}
	err := m.Tailnet.Up(limited, j)
	var no *RefusedError
	refused := errors.As(err, &no)
	switch {
	case err == nil:
		return nil
	case refused && j.Key.Empty():
		return problem("key-lost").because(no)
	case refused && keyFault(no.Message) != "":
		return problem(keyFault(no.Message)).because(errors.Join(no, m.Tailnet.Forget(ctx)))
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if p := m.controlFault(ctx); p != nil {
		return p.because(err)
	}
	if refused {
		return problem("login-failed", no.Message).because(no)
	}
	return problem("unreachable", hostOf(j.URL)).because(err)
}

// keyWords are all that Headscale 0.26 to 0.29 says about a key that is no good
// (hscontrol: auth.go, db/preauth_keys.go, types/preauth_key.go), in lower
// case. Only a person can mend that, with another key.
var keyWords = []struct{ words, code string }{
	{"authkey already used", "key-spent"},
	{"authkey has already been used", "key-spent"},
	{"auth-key has already been used", "key-spent"},
	{"authkey expired", "key-expired"},
	{"auth-key expired", "key-expired"},
	{"invalid pre auth key", "key-unknown"},
	{"invalid authkey", "key-unknown"},
	{"authkey not found", "key-unknown"},
	{"auth-key not found", "key-unknown"},
	{"failed to parse auth-key", "key-unknown"},
	{"crypto/bcrypt: hashedpassword is not the hash of the given password", "key-unknown"},
}

// keyFault names what is wrong with the key, going by the server's words; "" if
// they are about anything else. Headscale returns every failure as text, even
// that its database was locked, and a good key must survive that. So the words
// must be a whole link in the chain of a wrapped error: "not found" and
// "expired" are also said of nodes, users, certificates and deadlines.
func keyFault(message string) string {
	chain := ": " + strings.ToLower(strings.TrimSpace(message)) + ": "
	for _, w := range keyWords {
		if strings.Contains(chain, ": "+w.words+": ") {
			return w.code
		}
	}
	return ""
}

// WaitTailnet waits until the node has its address in the tailnet.
func WaitTailnet(ctx context.Context, t Tailnet, clock Clock) error {
	for {
		st, err := t.Status(ctx)
		if err == nil && running(st) {
			return nil
		}
		if serr := clock.Sleep(ctx, 500*time.Millisecond); serr != nil {
			return errors.Join(fmt.Errorf("no address in the tailnet (state %q)", st.State), err)
		}
	}
}

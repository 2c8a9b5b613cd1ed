// Package firstboot makes a machine that was just switched on a member of its
// tailnet and its cluster, from one small file on the boot partition.
//
// It is a list of steps. Each asks the machine, not a journal, whether it is
// done, so that a power cut at any moment is answered by starting again at the
// top, and the second boot is the first one with nothing left to do. What goes
// wrong is a *Problem: told in words a layman can read over the phone, and
// retried or left to a person.
//
// The package refuses to know the fleet, to create a second cluster, to show
// or keep a secret longer than needed, and to touch the outside world but
// through Host.
package firstboot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// step is one thing that must be true of a node.
type step struct {
	Name string
	// Done asks the machine. It changes nothing.
	Done func(context.Context) (bool, error)
	// Do makes it true, or fails; it can be repeated after any interruption.
	Do func(context.Context) error
}

// machine is one pass over the steps: a host and what node.yaml says of it.
type machine struct {
	Host
	*given
	spare *secret.String // that a holder gave on the owner's word; nil where none is asked for
	// of the cluster, as verify found it in this pass
	fault    *Problem
	object   []byte        // this node there
	answered time.Duration // the slowest answer
}

// steps lists the steps for a node in their order.
func (m *machine) steps() []step {
	all := []step{
		{"identity", m.identityDone, m.identityDo},
		{"clock", m.clockDone, m.clockDo},
		{"components", m.componentsDone, m.componentsDo},
		{"control", m.controlDone, m.controlDo},
		{"tailnet", m.tailnetDone, m.tailnetDo},
		{"firewall", m.firewallDone, m.firewallDo},
		{"storage", m.storageDone, m.storageDo},
		{"k3s", m.k3sDone, m.k3sDo},
		{"verify", m.verifyDone, m.verifyDo},
		{"secrets", m.secretsDone, m.secretsDo},
		{"seal", m.sealDone, m.sealDo},
		{"longhorn", m.longhornDone, m.longhornDo},
		{"restore", m.restoreDone, m.restoreDo},
	}
	if m.cfg.Role == node.Control {
		return slices.DeleteFunc(all, func(s step) bool { return slices.Contains([]string{"k3s", "longhorn", "restore"}, s.Name) })
	}
	return all
}

// Options of Run.
type Options struct {
	Version string // shown in the status
	Slot    string // that the system runs from, shown in the status
	// Only runs the steps of these names and returns; nil is all, for ever.
	Only []string
}

// Run works through the steps until all are done, tells every change to show,
// and then keeps watching that they stay done. It returns when ctx ends, or
// with Only at the end of the first pass.
func Run(ctx context.Context, h Host, o Options, show func(Status)) error {
	r := &runner{host: h, opt: o, show: show}
	r.status.Program, r.status.Slot = o.Version, o.Slot
	for attempt := 1; ; attempt++ {
		r.status.Attempt = attempt
		r.heed()
		err := r.pass(ctx)
		if ctx.Err() != nil || o.Only != nil {
			return errors.Join(ctx.Err(), err)
		}
		if r.settle(ctx, err) {
			attempt = 0
		}
		if err := r.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// runner is Run's state between passes.
type runner struct {
	host   Host
	opt    Options
	show   func(Status)
	status Status
	last   string    // code of the problem of the pass before
	asked  string    // what a person changed last
	starts string    // of k3s, at the end of the pass before
	began  time.Time // when that start was seen first
	proven string    // that start, once it was joined
	joined bool      // at the end of the pass before
	member bool      // it was joined since this program started
	// what is wrong beside the status
	notice, refused, pageFault *Problem
	page                       shown
	spare                      secret.String
	machine                    *machine // of this pass, where it went through its steps
	keeping                    keeping
	link                       link
}

// heed counts what a person asks for.
func (r *runner) heed() {
	if now := r.host.changes(); now != r.asked {
		r.asked, r.refused = now, nil
		r.status.Asked++
	}
}

// pass goes through the steps once. Whatever it returns is a *Problem.
func (r *runner) pass(ctx context.Context) error {
	r.status.State, r.machine = Working, nil
	g, err := r.given()
	if err != nil {
		r.status.Step = "config"
		return r.restartForData(ctx, asProblem(err))
	}
	r.notice = g.notice
	r.noticed()
	m := &machine{Host: r.host, given: g, spare: &r.spare}
	err = r.work(ctx, m)
	if r.opt.Only != nil || ctx.Err() != nil {
		return err
	}
	if e := m.keepNames(ctx); err == nil {
		err = asProblem(e)
	}
	r.machine = m
	p := r.link.look(ctx, m)
	// A dead router beside a live port explains nothing, as the node is reached;
	// and it must not keep a node that was just started from ever being joined.
	if p == nil || p.Code == "link-router" && (err != nil || !r.member) {
		return err
	}
	return p.because(errors.Join(p.err, err))
}

func (r *runner) work(ctx context.Context, m *machine) error {
	for _, s := range m.steps() {
		if r.opt.Only != nil && !slices.Contains(r.opt.Only, s.Name) {
			continue
		}
		if err := r.step(ctx, s); err != nil {
			return err
		}
	}
	r.notice = m.notice
	r.noticed()
	return r.watch(ctx, m)
}

// watch finds what is wrong with a member though all steps are done. It keeps
// no newcomer from joining: a slow cluster is better than none.
func (r *runner) watch(ctx context.Context, m *machine) error {
	if !r.member {
		return nil
	}
	if p := m.slowFault(ctx); p != nil {
		return p
	}
	if r.joined && r.host.starts() != r.starts && !r.outlived() {
		return problem("k3s-restarted")
	}
	return nil
}

// given reads what the node is, from a disk that is in order.
func (r *runner) given() (*given, error) {
	if err := r.host.dataFault(); err != nil {
		return nil, err
	}
	if err := r.host.finishTaking(); err != nil {
		errors.As(err, &r.refused)
	}
	g, err := load(r.host.Files)
	if err != nil {
		return nil, err
	}
	r.status.describe(g.cfg)
	r.page.off = g.cfg.Page == node.PageOff || g.cfg.Control != nil
	place, err := r.host.dataPlace(g.cfg)
	g.notice = cmp.Or(g.notice, place, r.host.full(), r.host.worn(), r.host.ending(g.cfg))
	return g, err
}

func (r *runner) step(ctx context.Context, s step) error {
	done, err := s.Done(ctx)
	if ctx.Err() != nil { // what was cut short says nothing: the card keeps what was true
		return ctx.Err()
	}
	if err != nil {
		r.begin(ctx, s)
		return asProblem(fmt.Errorf("%s: %w", s.Name, err))
	}
	if done {
		return nil
	}
	r.begin(ctx, s)
	if err := s.Do(ctx); err != nil {
		return asProblem(fmt.Errorf("%s: %w", s.Name, err))
	}
	return nil
}

// begin shows which step is being worked on. A problem of the pass before
// stays on the screen until something else is known.
func (r *runner) begin(ctx context.Context, s step) {
	r.status.Step = s.Name
	r.refresh(ctx)
}

func (r *runner) refresh(ctx context.Context) {
	r.showPage(ctx)
	r.status.Addresses, r.status.Tailnet = r.host.addresses(ctx)
	r.status.Time = r.host.Clock.Now().UTC().Truncate(time.Second)
	r.show(r.status)
}

// settle turns the end of a pass into the status, and reports whether the
// count of attempts starts again.
func (r *runner) settle(ctx context.Context, err error) (fresh bool) {
	r.seeStart()
	var p *Problem
	if r.joined = !errors.As(err, &p); r.joined {
		now := r.host.Clock.Now().UTC().Truncate(time.Second)
		r.status.State, r.status.Step, r.status.Problem, r.last = Joined, "", nil, ""
		r.refused = nil
		r.noticed()
		if r.page.until.IsZero() {
			r.page.until = now.Add(farewell)
		}
		r.status.Checked, r.member = &now, true
		r.forgetRestarts(ctx)
		return true
	}
	fresh = p.Code != r.last
	r.page.until = time.Time{}
	r.status.Problem, r.last, r.status.Checked = p, p.Code, nil
	r.status.State = p.state()
	return fresh
}

// The pauses between passes.
const (
	lookPause    = 30 * time.Second // between looks at a joined node, and at what takes long
	waitingPause = 4 * time.Second  // for what is expected to take a while; at first a second
	longestPause = 60 * time.Second // of the backoff
	stayPause    = 10 * time.Minute // for a person
	pollInterval = time.Second      // of a new node.yaml, "firstboot retry" and a k3s that was started anew
)

// pause waits for the next pass: for the time the outcome asks for, or until
// a person asks, or k3s was started anew or stopped. What the node does for others has
// its time here, as that may take long and keeps nobody from reading the outcome.
func (r *runner) pause(ctx context.Context, attempt int) error {
	d := lookPause
	if p := r.status.Problem; p != nil {
		d = p.pause(attempt)
	}
	end := r.host.Clock.Now().Add(d)
	r.status.NextTry = nil
	if !r.joined && d < stayPause {
		t := end.UTC().Truncate(time.Second)
		r.status.NextTry = &t
	}
	r.refresh(ctx)
	if r.machine != nil {
		r.keeping.keep(ctx, r.machine)
		r.noticed()
		r.refresh(ctx)
	}
	for r.host.Clock.Now().Before(end) && r.host.changes() == r.asked && r.host.starts() == r.starts {
		r.heedLeft(ctx)
		if err := r.host.Clock.Sleep(ctx, min(pollInterval, d)); err != nil {
			return err
		}
	}
	r.status.NextTry = nil
	return nil
}

// backoff doubles from two seconds and never waits in step with other nodes:
// after a power cut a whole site comes back at once.
func backoff(attempt int) time.Duration {
	d := min(2*time.Second<<min(attempt, 10), longestPause)
	return d/2 + rand.N(d/2)
}

// Package firstboot turns a machine that was just switched on into a member of
// its tailnet and its cluster. What goes in is node.yaml, one small file on the
// boot partition. What comes out is a node that has joined and is kept that
// way, and a Status that says how far it is.
//
// It works through a list of steps. Each step asks the machine itself, not a
// journal, whether it is done. So after a power cut at any moment it starts
// again at the top, and a second boot is the first one with nothing left to do.
// What goes wrong is a *Problem: worded so that a layman can read it out over
// the phone, and either retried or left to a person.
//
// The package refuses to know more of the fleet than node.yaml says, to create
// a second cluster, to show a secret or keep it longer than needed, and to
// touch the outside world except through Host.
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
	spare *secret.String // the spare share, once a holder gave it on the owner's word (imagebuilder unlock); nil outside Run
	// The cluster, as verify saw it in this pass.
	fault    *Problem
	object   []byte        // this node's Node object
	answered time.Duration // how long the slowest answer of the API took
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

// Options configures Run.
type Options struct {
	Version string // shown in the status
	Slot    string // the slot that the system runs from, shown in the status
	// Only limits Run to one pass over the steps with these names; nil means
	// all steps, for ever.
	Only []string
}

// Run works through the steps until all are done, and then keeps checking that
// they stay done. It passes each new status to show. It returns when ctx ends
// or, with Only, at the end of the first pass.
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
	last   string    // code of the previous pass's problem, "" after a success
	asked  string    // what Host.changes returned last: it differs once a person has asked for something
	starts string    // what Host.starts returned at the end of the previous pass: which start of k3s runs
	began  time.Time // when that start was first seen
	proven string    // the start for which forgetRestarts is done
	joined bool      // whether the previous pass ended with all steps done
	member bool      // whether that was so at least once since this program started
	// What is shown beside the status: see noticed.
	notice, refused, pageFault *Problem
	page                       shown
	spare                      secret.String
	machine                    *machine // the machine of this pass; nil unless the pass came as far as its steps
	keeping                    keeping
	link                       link
}

// heed counts what a person asks for, and forgets what was refused before.
func (r *runner) heed() {
	if now := r.host.changes(); now != r.asked {
		r.asked, r.refused = now, nil
		r.status.Asked++
	}
}

// pass goes through the steps once. Unless ctx has ended, an error holds a
// *Problem.
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
	// link-router means that the router is dead, but others still reach the
	// node; link-aside, that another way out has taken over. They explain no
	// other fault, so they come after err; and they must not keep a node that
	// was just started from ever counting as joined.
	if p == nil || (p.Code == "link-router" || p.Code == "link-aside") && (err != nil || !r.member) {
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

// watch finds what is wrong with a member though all its steps are done. It
// finds nothing before the node has joined once since this program started: a
// slow cluster is better than none, and must keep no newcomer out.
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

// given checks the data disk, finishes an interrupted change of node.yaml, and
// reads what the node is to be.
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
	if ctx.Err() != nil { // an interrupted check says nothing: the status on the card stays as it was
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

// begin shows which step is being worked on. The previous pass's problem stays
// on the screen until something else is known.
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

// settle turns the outcome of a pass into the status. It reports whether the
// count of attempts starts again: after a success, or if the problem is another
// one than before.
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
	waitingPause = 4 * time.Second  // for what is expected to take a while, doubling up to this from one second
	longestPause = 60 * time.Second // the longest backoff
	stayPause    = 10 * time.Minute // when only a person can help
	pollInterval = time.Second      // how often to look for a new node.yaml, "firstboot retry" and a restart of k3s
)

// pause waits for the next pass: for the time that the outcome asks for, or
// until a person asks, or until k3s is restarted or stops. Before it waits it
// does the node's duties for others (keeping): they may take long, and here
// nobody waits for the outcome meanwhile.
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

// backoff doubles from two seconds up to longestPause. Half of it is random, so
// that nodes do not retry in step: after a power cut a whole site comes back at
// once.
func backoff(attempt int) time.Duration {
	d := min(2*time.Second<<min(attempt, 10), longestPause)
	return d/2 + rand.N(d/2)
}

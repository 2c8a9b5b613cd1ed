// Package rollout updates many nodes of a fleet, one after the other, so that the cluster
// stays up: a node is drained before it restarts, and the next one begins only when this one
// has proved itself and the volumes are healthy again.
//
// A rollout continues only while the cluster can do without the next node, and stops at the
// first node that fails, with an explanation for a person. It restarts no node without
// having checked the others, never two at once, and no voter while another rollout has one
// drained. It never evicts a pod against its disruption budget, and never uncordons a node
// that somebody else cordoned. It keeps no state: run again, it skips the nodes that are
// done. Whether an update fits a node is decided by the node.
package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/update"
)

// Options say how patient and how careful a rollout is.
type Options struct {
	// Restart says that nodes restart; otherwise they only receive the update.
	Restart bool
	// Blind restarts one node without asking the cluster, which may be down.
	Blind bool
	// Canary is the node that goes first, "" for the first in the order.
	Canary string
	// Soak is how long the first site runs the update before the next one begins.
	Soak time.Duration
	// Drain bounds the wait for pods to leave, Heal the wait for the cluster to be healthy.
	Drain, Heal time.Duration
	// Wait bounds the wait for nodes that are offline.
	Wait time.Duration
}

// World is everything outside of this package that a rollout asks and changes.
type World interface {
	// Online returns the nodes that Headscale sees.
	Online(ctx context.Context) (map[string]bool, error)
	// Ask asks all of them at once; the report of a node that could not be asked says why.
	Ask(ctx context.Context, names ...string) []inquiry.Life
	Push(ctx context.Context, name, file string) (update.Answer, error)
	Snapshot(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error

	Nodes(ctx context.Context) ([]kube.Node, error)
	SickVolumes(ctx context.Context) ([]kube.Volume, error)
	// Cordon tells whether the node is cordoned by a rollout, not by somebody else.
	Cordon(ctx context.Context, name string) (ours bool, err error)
	Uncordon(ctx context.Context, name string) error
	Pods(ctx context.Context, name string) ([]kube.Pod, error)
	Evict(ctx context.Context, p kube.Pod) error
}

// Outcome is the result for one node.
type Outcome struct {
	update.Answer
	// Restarted says that the node runs the update, which has passed its trial.
	Restarted bool `json:"restarted"`
	// Notes are for a person.
	Notes []string `json:"notes,omitempty"`
}

// Rollout is a prepared rollout.
type Rollout struct {
	o     Options
	world World
	// Say reports what is being done to a node.
	Say func(node, words string)

	updates []Update
	files   map[string]string // the update files, by board
	order   []Target
	all     []Target // all nodes of the fleet
	leftOut []LeftOut
	minor   bool
	silent  error // why the cluster does not say which k3s its nodes run
}

// Stopped is the error of a rollout that ended early.
type Stopped struct {
	Node       string
	Done, Left []string
	Cause      error
}

func (s *Stopped) Error() string {
	return fmt.Sprintf("stopped at %s: %v\nDone: %s. Not begun: %s.\nMend that, and say the same again: nodes that run the update are passed over",
		s.Node, s.Cause, orNone(s.Done), orNone(s.Left))
}

func (s *Stopped) Unwrap() error { return s.Cause }

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Run brings the updates (files, by board) to the nodes in their order. done has the nodes
// that were finished, even if an error follows.
func (r *Rollout) Run(ctx context.Context, files map[string]string) (done []Outcome, err error) {
	r.files = files
	queue, g := slices.Clone(r.order), group{}
	deadline := time.Now().Add(r.o.Wait)
	for len(queue) > 0 {
		at, err := r.next(ctx, queue, deadline)
		if err != nil {
			return done, stopped(queue, 0, done, err)
		}
		t := queue[at]
		if r.o.Restart && g.leave(t) {
			if err := r.soak(ctx, t, g.done); err != nil {
				return done, stopped(queue, at, done, err)
			}
		}
		d, err := r.one(ctx, t)
		if err != nil {
			return done, stopped(queue, at, done, err)
		}
		done, queue = append(done, d), slices.Delete(queue, at, at+1)
		g.enter(t, d)
	}
	return done, nil
}

func stopped(queue []Target, at int, done []Outcome, cause error) error {
	s := &Stopped{Node: queue[at].Name, Done: nodesOf(done), Cause: cause}
	for i, t := range queue {
		if i != at {
			s.Left = append(s.Left, t.Name)
		}
	}
	return s
}

func nodesOf(done []Outcome) (names []string) {
	for _, d := range done {
		names = append(names, d.Node)
	}
	return names
}

const (
	lookPause   = 10 * time.Second // between looks at a node or the cluster
	onlinePause = time.Minute      // between two looks at Headscale's list
	onlineGrace = 5 * time.Minute  // for a short loss of the tailnet, if no --wait was asked for
)

// next is the index of the first node in the queue that is online, among those of the
// current phase; a canary comes before all others. While a voter is offline, no other voter
// is chosen: its turn comes when the missing voter is back, or after the deadline, to report
// why it may not restart.
func (r *Rollout) next(ctx context.Context, queue []Target, deadline time.Time) (int, error) {
	if grace := time.Now().Add(onlineGrace); deadline.Before(grace) {
		deadline = grace
	}
	first := queue
	if queue[0].Name == r.o.Canary { // the canary must go before all others
		first = queue[:1]
	}
	for said := false; ; said = true {
		online, err := r.world.Online(ctx)
		late := !time.Now().Before(deadline)
		for i, t := range first {
			if err == nil && online[t.Name] && t.phase == queue[0].phase && (late || !r.held(t, online)) {
				return i, nil
			}
		}
		if err == nil {
			err = errors.New("it is not there: " + missing)
		}
		if late {
			return 0, err
		}
		if !said {
			r.Say(queue[0].Name, fmt.Sprintf("is waited for, until %s", deadline.Local().Format(time.DateTime)))
		}
		if err := ctxio.Sleep(ctx, onlinePause); err != nil {
			return 0, err
		}
	}
}

// held says that t is a voter and may not restart, as another voter is offline.
func (r *Rollout) held(t Target, online map[string]bool) bool {
	return r.o.Restart && t.inCluster() && t.Role.Votes() && slices.ContainsFunc(r.all, func(o Target) bool {
		return o.Name != t.Name && o.Role.Votes() && !o.posted && !online[o.Name]
	})
}

// soakGrace is the time that a site has, beyond the soak, to be well.
const soakGrace = 15 * time.Minute

// soak waits until the nodes that are done have run for long enough, and are well.
func (r *Rollout) soak(ctx context.Context, t Target, done []Outcome) error {
	names := nodesOf(done)
	r.Say(t.Name, fmt.Sprintf("waits until %s has run the update for %v", strings.Join(names, ", "), r.o.Soak))
	err := r.await(ctx, r.o.Soak+soakGrace, func() (against []string, err error) {
		for i, said := range r.world.Ask(ctx, names...) {
			switch {
			case said.Silent == "" && said.Slot != done[i].Slot:
				return nil, fmt.Errorf("%s, which has the update, runs slot %s again: %s", names[i], said.Slot, said.Line())
			case !said.Well():
				against = append(against, names[i]+" is not well: "+said.Line())
			case said.Up < r.o.Soak:
				against = append(against, fmt.Sprintf("%s has run for %v", names[i], said.Up.Round(time.Second)))
			}
		}
		return against, nil
	})
	if err != nil {
		return fmt.Errorf("the nodes that have the update do not stay well, so it goes no further: %w", err)
	}
	return nil
}

// await calls look again and again until nothing prevents going on, for at most limit.
func (r *Rollout) await(ctx context.Context, limit time.Duration, look func() (against []string, err error)) error {
	return r.every(ctx, lookPause, limit, look)
}

func (r *Rollout) every(ctx context.Context, between, limit time.Duration, look func() (against []string, err error)) error {
	for end := time.Now().Add(limit); ; {
		against, err := look()
		if err != nil || len(against) == 0 {
			return err
		}
		if !time.Now().Before(end) {
			return fmt.Errorf("after %v: %s", limit, strings.Join(against, "; "))
		}
		if err := ctxio.Sleep(ctx, between); err != nil {
			return err
		}
	}
}

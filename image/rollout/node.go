package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/update"
)

// one updates one node.
func (r *Rollout) one(ctx context.Context, t Target) (d Outcome, err error) {
	r.Say(t.Name, "gets the update")
	if d.Answer, err = r.world.Push(ctx, t.Name, r.files[t.gets.Board]); err != nil || !r.o.Restart {
		return d, err
	}
	if !d.Installed { // the node runs the update already; perhaps an earlier rollout was interrupted here
		return r.settled(ctx, t, d)
	}
	if err := r.allowed(ctx, t); err != nil {
		return d, fmt.Errorf("it has the update, and may not restart: %w", err)
	}
	if now := r.world.Ask(ctx, t.Name)[0]; d.runs(now) {
		return r.byItself(ctx, t, d)
	}
	if t.Role == node.Server && t.inCluster() {
		r.Say(t.Name, "saves a snapshot of etcd")
		if err := r.world.Snapshot(ctx, t.Name); err != nil {
			return d, fmt.Errorf("no snapshot of etcd, so it does not restart: %w", err)
		}
	}
	if !t.inCluster() {
		return r.restart(ctx, t, d)
	}
	if d.Notes, err = r.empty(ctx, t); err != nil {
		return d, err
	}
	if against := r.quorum(ctx, t); len(against) > 0 {
		return d, errors.Join(fmt.Errorf("it is drained, and may not restart now: %s", strings.Join(against, "; ")), r.release(ctx, t))
	}
	return r.restart(ctx, t, d)
}

// restart restarts the node into the update, and waits for the outcome.
func (r *Rollout) restart(ctx context.Context, t Target, d Outcome) (Outcome, error) {
	before := r.world.Ask(ctx, t.Name)[0]
	if d.runs(before) {
		return r.byItself(ctx, t, d)
	}
	if before.Silent != "" || before.Slot == d.Slot {
		return d, errors.Join(fmt.Errorf("it does not say what it runs, and so does not restart: %s", before.Line()), r.release(ctx, t))
	}
	r.Say(t.Name, "restarts, and tries slot "+d.Slot)
	if err := r.world.Restart(ctx, t.Name); err != nil {
		return d, fmt.Errorf("it may restart or not, and stays cordoned ('imagebuilder status'): %w", err)
	}
	if err := r.returned(ctx, t, before, d.Answer); err != nil {
		if t.inCluster() {
			err = fmt.Errorf("it stays cordoned: %w", err)
		}
		return d, r.failed(ctx, t, err)
	}
	d.Restarted = true
	return r.settled(ctx, t, d)
}

// runs says that a node runs the slot that it got the update into.
func (d Outcome) runs(now inquiry.Life) bool {
	return now.Silent == "" && now.Slot != "" && now.Slot == d.Slot
}

// byItself goes on with a node that restarted while the rollout waited, as after a power
// cut: it tries the update already.
func (r *Rollout) byItself(ctx context.Context, t Target, d Outcome) (Outcome, error) {
	r.Say(t.Name, "restarted by itself, and tries slot "+d.Slot)
	d.Restarted = true
	return r.settled(ctx, t, d)
}

// failed uncordons a node that fell back, as it is again what it was before. A node that
// failed in any other way stays cordoned.
func (r *Rollout) failed(ctx context.Context, t Target, err error) error {
	var back *FellBack
	if errors.As(err, &back) {
		return errors.Join(back, r.uncordon(ctx, t))
	}
	return err
}

// FellBack says that a node tried the update and returned to its previous system.
type FellBack struct {
	Node, Slot string
	Words      string
}

func (f *FellBack) Error() string {
	return fmt.Sprintf("it fell back: slot %s did not prove itself, and it runs what it ran before. %s. On it: 'journalctl -b -1', 'firstboot status'", f.Slot, f.Words)
}

// trialTime is enough for three attempts of a node to start the update, and for the way
// back. firstboot-deadline.timer ends an attempt after 40 minutes.
const trialTime = 3*45*time.Minute + 15*time.Minute

// disproved returns an error if a node says that it runs something other than the update. A
// node that is silent, or too old to report its slot, may run the update.
func disproved(now inquiry.Life, t Target, a update.Answer) error {
	switch {
	case now.Silent != "" || now.Slot == "":
		return nil
	case now.Slot != a.Slot:
		return &FellBack{t.Name, a.Slot, now.Line()}
	case now.Image != "" && now.Image != a.Version:
		return fmt.Errorf("slot %s runs %s, and not %s", now.Slot, now.Image, a.Version)
	}
	return nil
}

// returned waits until the node has restarted and has either kept the update or fallen back.
// Until then the node is silent, or reports its previous boot.
func (r *Rollout) returned(ctx context.Context, t Target, before inquiry.Life, a update.Answer) error {
	return r.await(ctx, trialTime, func() ([]string, error) {
		now := r.world.Ask(ctx, t.Name)[0]
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case now.Silent != "":
			return []string{"it has not come back: " + now.Line()}, nil
		case now.Boot == before.Boot || now.Slot == "":
			return []string{"it has not restarted yet"}, nil
		}
		if err := disproved(now, t, a); err != nil {
			return nil, err
		}
		switch {
		case now.State == contract.StateJoined && now.Image == "":
			return nil, errors.New("it does not say which slot is good: the update's image is older than 'update --reboot' asks for; 'firstboot status' on it tells how it is")
		case !now.Well():
			return []string{"it is on trial: " + now.Line()}, nil
		}
		return nil, nil
	})
}

// settled waits until the node is a working part of the cluster again. A node that ran the
// update already may still be on trial, if an earlier rollout was interrupted, and may fall
// back.
func (r *Rollout) settled(ctx context.Context, t Target, d Outcome) (Outcome, error) {
	err := r.await(ctx, r.o.Heal, func() ([]string, error) {
		now := r.world.Ask(ctx, t.Name)[0]
		if err := disproved(now, t, d.Answer); err != nil {
			return nil, err
		}
		if !now.Well() {
			return []string{now.Line()}, ctx.Err()
		}
		return nil, ctx.Err()
	})
	if err != nil {
		if t.Role != node.Control {
			err = fmt.Errorf("%s: %w", t.cordoned(), err)
		}
		return d, r.failed(ctx, t, fmt.Errorf("it runs the update, and is not well; %w", err))
	}
	if err := r.uncordon(ctx, t); err != nil && t.blind {
		d.Notes = append(d.Notes, err.Error())
	} else if err != nil {
		return d, err
	}
	if !t.inCluster() {
		return d, nil
	}
	r.Say(t.Name, "runs the update; the cluster heals")
	if err := r.await(ctx, r.o.Heal, func() ([]string, error) { return r.missing(ctx, t), ctx.Err() }); err != nil {
		return d, fmt.Errorf("it runs the update, and the cluster has not healed: %w", err)
	}
	return d, nil
}

// uncordon retries for apiTime, as the API may be away together with the node. A blind
// rollout does not rely on the cluster, which may be down, and tries once: an earlier
// rollout may have cordoned the node.
func (r *Rollout) uncordon(ctx context.Context, t Target) error {
	if t.Role == node.Control {
		return nil
	}
	if t.blind {
		ctx, cancel := context.WithTimeout(ctx, undoTime)
		defer cancel()
		if r.world.Uncordon(ctx, t.Name) != nil {
			return errors.New(t.cordoned())
		}
		return nil
	}
	err := r.await(ctx, apiTime, func() ([]string, error) {
		if err := r.world.Uncordon(ctx, t.Name); err != nil {
			return []string{err.Error()}, ctx.Err()
		}
		return nil, nil
	})
	if err != nil {
		return fmt.Errorf("it is not uncordoned (kubectl uncordon %s): %w", t.Name, err)
	}
	return nil
}

// cordoned says what an interrupted rollout may have left behind.
func (t Target) cordoned() string {
	return fmt.Sprintf("it stays cordoned if it was (kubectl uncordon %s)", t.Name)
}

// apiTime is how long the API may be away after a server's restart.
const apiTime = 15 * time.Minute

// missing says what the cluster still lacks after a restart.
func (r *Rollout) missing(ctx context.Context, t Target) (all []string) {
	v := view{online: map[string]bool{t.Name: true}, reports: map[string]inquiry.Life{t.Name: r.world.Ask(ctx, t.Name)[0]}}
	var err error
	if v.nodes, err = r.world.Nodes(ctx); err == nil {
		v.sick, err = r.world.SickVolumes(ctx)
	}
	if err != nil {
		return []string{"the cluster: " + err.Error()}
	}
	all = v.fault(t, true)
	for _, s := range v.sick {
		all = append(all, sickWords(s))
	}
	return all
}

func sickWords(v kube.Volume) string { return fmt.Sprintf("volume %s is %s", v.Name, v.Robustness) }

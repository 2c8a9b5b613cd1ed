package update

import (
	"context"
	"errors"
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// Rollback makes the next start that of the system in the other slot, on trial like an update: the
// system that ran before the last update, unless that update's trial failed. An update whose trial
// has not begun yet is taken back, and nothing else is written.
func Rollback(ctx context.Context, h firstboot.Host, s Slots) (result *Result, err error) {
	release, err := s.Lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	u := &update{Host: h, slots: s}
	if err := u.ask(); err != nil {
		return nil, err
	}
	if u.state.Good != u.state.Current {
		return nil, u.unproven()
	}
	if u.state.Trial == u.other && u.state.Tries == 0 {
		return nil, fmt.Errorf("slot %s has the system whose trial failed: this node runs what it ran before", u.other)
	}
	last, err := s.Prepared()
	if err != nil {
		return nil, err
	}
	// A rollback that already waits for its restart gets the same answer again: the caller's
	// connection may have broken before the first one.
	if last != nil && last.Slot == u.other && !last.Back {
		if u.state.Leaves() {
			return u.stays()
		}
		return nil, fmt.Errorf("slot %s has an update that was taken back, or cut off: this node runs what it ran before", u.other)
	}
	if back, err := s.WentBack(); err != nil {
		return nil, err
	} else if back {
		return nil, fmt.Errorf("slot %s has the system that this node went back from: it runs what it ran before. To go forward again, send the update", u.other)
	}
	if err := s.Settled(); err != nil {
		return nil, err
	}
	old, err := firstboot.ReadRelease(func(name string) ([]byte, error) { return s.Read(u.other, name) })
	if err != nil {
		return nil, fmt.Errorf("slot %s has no system to go back to: %w", u.other, err)
	}
	if err := u.refuseBack(old); err != nil {
		return nil, err
	}
	trial, err := u.running.Trial(ctx, h, u.other, old.Components)
	if err != nil {
		return nil, err
	}
	trial.Back = true
	if err := u.refuseAttic(trial, u.unpacks(old.Components)); err != nil {
		return nil, err
	}
	if err := s.StartTrial(trial, tries); err != nil {
		return nil, err
	}
	return &Result{Installed: true, Slot: u.other, Version: old.Version}, nil
}

// refuseBack refuses an older system that cannot read what the running programs have written and
// keep.
func (u *update) refuseBack(old *firstboot.Release) error {
	if old.Board != u.running.Board {
		return fmt.Errorf("slot %s has a system for board %s, this is %s", u.other, old.Board, u.running.Board)
	}
	for _, name := range []string{"k3s", "headscale"} {
		from, to := u.running.Components[name], old.Components[name]
		if !contract.SameSeries(from, to) {
			return fmt.Errorf("slot %s has %s %s, this is %s, whose data the other does not read: flash the node anew, or go on to a mended version", u.other, name, orNone(to), orNone(from))
		}
	}
	return u.refuseIgnorant(old.Storage, "slot "+u.other, "go on to a mended version, or flash the node anew")
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

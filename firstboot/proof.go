package firstboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// Proof is what a system must achieve to be kept.
type Proof struct {
	Join time.Duration // within which a member must have joined again
	Soak time.Duration // for which a member on trial must then be well without a break
}

// patience is how many times Soak a system on trial is given to be well for Soak: a unit
// that failed may be restarted, k3s may stumble once, a peer may be away for a while.
const patience = 4

// sshd listens on all addresses; the firewall does not touch the machine's connections to
// itself.
var sshd = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 22)

// provePause is the pause between two looks.
const provePause = 2 * time.Second

// Health waits until the running system deserves to be kept, and returns nil then. A node
// that was a member once must be one again. One that never was has no better system to go
// back to, and is well if it can say what is wrong.
//
// A system on trial must also read from its medium as it was written. On a member it must
// then be well for a while without a break: joined, according to a firstboot that is alive;
// neither firstboot nor k3s restarted; no unit failed that had not failed before the trial,
// except for causes outside this machine (contract.Elsewhere); and ssh answering if it did
// before. Last, a server of the cluster must have reached it over the tailnet, if servers
// look for that: a node may reach everybody and be reached by nobody.
func Health(ctx context.Context, h Host, p Proof) error {
	member, err := h.exists(joinedFile)
	if err != nil {
		return err
	}
	if err := h.awaitJoined(ctx, member, p.Join); err != nil {
		return err
	}
	trial, err := h.Slot.Trial(ctx)
	if err != nil || trial == nil {
		return err
	}
	// If the result cannot be noted, that speaks against /var, not against the system.
	if fault, _ := h.lookAtSlot(ctx, trial.Slot); fault != nil || !member {
		return fault
	}
	return h.soak(ctx, trial, p.Soak)
}

func (h *Host) awaitJoined(ctx context.Context, member bool, limit time.Duration) error {
	for end := h.Clock.Now().Add(limit); ; {
		s, err := ReadStatus(h.Files)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && (s.State == Joined || !member) {
			return nil
		}
		if h.Clock.Now().After(end) {
			return fmt.Errorf("not joined after %s: %s", limit, s.Line())
		}
		if err := h.Clock.Sleep(ctx, provePause); err != nil {
			return err
		}
	}
}

func (h *Host) soak(ctx context.Context, trial *contract.Trial, soak time.Duration) error {
	end, ran, why := h.Clock.Now().Add(patience*soak), h.runs(), ""
	for well := h.Clock.Now(); ; {
		now := h.Clock.Now()
		if fault := h.unwell(ctx, trial, &ran); fault != "" {
			well, why = now, fault
		}
		if now.Sub(well) >= soak {
			if why = h.unreached(ctx, trial, now.After(end)); why == "" {
				return nil
			}
		}
		if now.After(end) {
			return fmt.Errorf("not well for %s on end, in %s: %s", soak, patience*soak, why)
		}
		if err := h.Clock.Sleep(ctx, provePause); err != nil {
			return err
		}
	}
}

// wordTime is how old the last status of a firstboot that is alive may be: it looks at a
// joined node twice a minute.
const wordTime = 2 * time.Minute

// runs are the current starts of the two programs that systemd restarts as soon as they
// crash, so that they are never among the failed units.
type runs struct{ k3s, firstboot string }

func (h *Host) runs() runs { return runs{h.starts(), h.invocation("firstboot.service")} }

// unwell returns what speaks against the running system at this moment, "" if nothing does.
func (h *Host) unwell(ctx context.Context, trial *contract.Trial, ran *runs) string {
	s, err := ReadStatus(h.Files)
	switch {
	case err != nil:
		return err.Error()
	case s.State != Joined:
		return s.Line()
	case h.Clock.Now().Sub(s.Time) > wordTime:
		return "firstboot says nothing any more, since " + utcTime(s.Time)
	}
	last, now := *ran, h.runs()
	*ran = now
	switch {
	case now.k3s != last.k3s:
		return "k3s was started anew"
	case now.firstboot != last.firstboot:
		return "firstboot was started anew"
	}
	if trial.Login && h.Net.Reach(ctx, sshd) != nil {
		return "ssh does not answer"
	}
	failed, err := h.Units.Failed(ctx)
	if err != nil {
		return err.Error()
	}
	for _, unit := range failed {
		if !slices.Contains(trial.Failed, unit) && !slices.Contains(contract.Elsewhere, unit) {
			return unit + " has failed"
		}
	}
	return ""
}

// unreached is "" once a server has reached this node. At last it is also "" where no other
// server is there to do that, as while the only server of the other site is switched off.
func (h *Host) unreached(ctx context.Context, trial *contract.Trial, last bool) string {
	if !trial.Reached {
		return ""
	}
	s, err := ReadStatus(h.Files)
	if err != nil {
		return err.Error()
	}
	by, err := h.reached(ctx, s.Node)
	switch {
	case err != nil:
		return err.Error()
	case by == "" && !(last && h.onlyServer(ctx, s.Node)):
		return "no server has reached it over the tailnet"
	}
	return ""
}

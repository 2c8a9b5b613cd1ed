package firstboot

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// When a node whose router is silent, while others are reached, asks DHCP anew:
// late enough for a router that restarts, and not all nodes of a site at once.
const (
	anewAfter  = 5 * time.Minute
	anewSpread = 10 * time.Minute
	// leaseWait is how long DHCP has to answer before the old address is put back.
	leaseWait = 30 * time.Second
)

// lastMetric is that of routes which any other is preferred to.
const lastMetric = "4096"

// anew is the question to DHCP, which is asked once in each silence: behind a
// switch the carrier stays when the router is replaced, and networkd keeps an
// address of the old network for as long as its lease.
type anew struct {
	due  time.Time
	done bool
}

func (a *anew) ask(ctx context.Context, m *machine, ports []port, now time.Time) error {
	if a.due.IsZero() {
		a.due = now.Add(anewAfter + rand.N(anewSpread))
	}
	if a.done || now.Before(a.due) {
		return nil
	}
	a.done = true
	var errs []error
	for _, dev := range devices(ports) {
		errs = append(errs, m.askAnew(ctx, dev, ports))
	}
	return errors.Join(errs...)
}

// address is one of IPv4. Only those from DHCP end some day.
type address struct {
	Local     string
	Prefixlen int
	Dynamic   bool
	Valid     int64 `json:"valid_life_time"` // in seconds
}

// leased returns the addresses that DHCP gave to a port.
func (m *machine) leased(ctx context.Context, dev string) ([]address, error) {
	var list []struct {
		Addresses []address `json:"addr_info"`
	}
	err := m.ip(ctx, &list, "-4", "address", "show", "dev", dev, "scope", "global")
	var out []address
	for _, l := range list {
		out = append(out, l.Addresses...)
	}
	return slices.DeleteFunc(out, func(a address) bool { return !a.Dynamic }), err
}

// askAnew lets networkd forget its lease on a port and ask for another one. Until
// somebody answers, which networkd waits for without end, the node keeps what
// it had: its neighbours on the switch reach it through that.
func (m *machine) askAnew(ctx context.Context, dev string, ports []port) error {
	had, err := m.leased(ctx, dev)
	if err != nil || len(had) == 0 {
		return err
	}
	began := m.Clock.Now()
	_, asked := m.Programs.Run(ctx, "networkctl", "reconfigure", dev)
	for m.Clock.Now().Sub(began) < leaseWait {
		if err := m.Clock.Sleep(ctx, 2*time.Second); err != nil {
			break
		}
		if has, err := m.leased(ctx, dev); err == nil && len(has) > 0 {
			return asked
		}
	}
	// The old address must come back even if this program is being stopped.
	return errors.Join(asked, m.putBack(context.WithoutCancel(ctx), dev, had, ports, m.Clock.Now().Sub(began)))
}

// putBack gives a port its old addresses for the rest of their time, and the
// routes to the routers that it had, which go with them.
func (m *machine) putBack(ctx context.Context, dev string, had []address, ports []port, passed time.Duration) error {
	var errs []error
	for _, a := range had {
		left := strconv.FormatInt(max(a.Valid-int64(passed/time.Second), 1), 10)
		_, err := m.Programs.Run(ctx, "ip", "address", "replace", a.Local+"/"+strconv.Itoa(a.Prefixlen), "broadcast", "+",
			"dev", dev, "metric", lastMetric, "valid_lft", left, "preferred_lft", left)
		errs = append(errs, err)
	}
	for _, p := range ports {
		if at, err := netip.ParseAddr(p.Gateway); p.Dev != dev || err != nil || !at.Is4() {
			continue
		}
		_, err := m.Programs.Run(ctx, "ip", "route", "replace", "default", "via", p.Gateway, "dev", dev, "src", had[0].Local, "metric", lastMetric)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

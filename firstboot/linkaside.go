package firstboot

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"
)

// asideFirst is how long a silent port is off for the first time, while another
// way out answers; and twice as long each time after that, up to restartLimit.
const asideFirst = 5 * time.Minute

// aside is a port that was switched off, since the kernel sends everything
// through a silent port as long as that has a default route.
type aside struct {
	devs  []string
	until time.Time // when systemd switches it on again
	times int       // how often this has happened in a row
}

// takeOver switches the silent ports off for a while, so that a way that
// answers carries everything.
func (l *link) takeOver(ctx context.Context, m *machine, ports []port, now time.Time) *Problem {
	first := ports[0]
	if now.Sub(l.since) < bounceAfter {
		l.told = problem("link-silent", first.Gateway, first.Dev)
		return l.told
	}
	off := min(asideFirst<<min(l.aside.times, 10), restartLimit)
	a := aside{devs: devices(ports), until: now.Add(off), times: l.aside.times + 1}
	if err := a.begin(ctx, m, off); err != nil {
		return problem("unexpected", err.Error()).because(err)
	}
	// The next silence begins when the other way falls silent, too.
	*l = link{aside: a, told: problem("link-aside", first.Gateway, first.Dev, a.until.UTC().Format("15:04 UTC"))}
	return l.told
}

// begin switches the ports off. systemd has the order to switch them on again
// before that, and keeps it even if this program ends.
func (a *aside) begin(ctx context.Context, m *machine, off time.Duration) error {
	for _, dev := range a.devs {
		seconds := strconv.Itoa(int(off / time.Second))
		if _, err := m.Programs.Run(ctx, "systemd-run", "--quiet", "--collect", "--on-active="+seconds, "ip", "link", "set", "dev", dev, "up"); err != nil {
			return err
		}
		if _, err := m.Programs.Run(ctx, "ip", "link", "set", "dev", dev, "down"); err != nil {
			return err
		}
	}
	return nil
}

// end switches the ports on before their time. If that fails, systemd still
// does it.
func (a *aside) end(ctx context.Context, m *machine) {
	for _, dev := range a.devs {
		_, _ = m.Programs.Run(ctx, "ip", "link", "set", "dev", dev, "up")
	}
	a.until = time.Time{}
}

// sortWays gives each way the lowest metric of its device, as it is devices
// that are silent, and sorts them by it.
func sortWays(ways []port) {
	lowest := map[string]int{}
	for _, w := range ways {
		if have, ok := lowest[w.Dev]; !ok || w.Metric < have {
			lowest[w.Dev] = w.Metric
		}
	}
	for i := range ways {
		ways[i].Metric = lowest[ways[i].Dev]
	}
	slices.SortStableFunc(ways, func(a, b port) int { return cmp.Compare(a.Metric, b.Metric) })
}

// devices returns the ports' devices, each once: a port may lead to an IPv4
// router and to an IPv6 one.
func devices(ports []port) (devs []string) {
	for _, p := range ports {
		if !slices.Contains(devs, p.Dev) {
			devs = append(devs, p.Dev)
		}
	}
	return devs
}

package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// link: the router of a member is silent though the cable is good. The port of
// a Pi 4 sometimes stops sending (raspberrypi/linux#7024): the node lives and
// feeds its watchdog, but nobody can reach it until somebody pulls the plug.
// Remedies are tried from the gentlest on: the port off and on, the same
// without energy saving (EEE), then restarts of the node, at growing intervals,
// as it may be the router that is dead. A node that can still be reached only
// asks DHCP anew, as there may be another router. Where another way out
// answers, such as Wi-Fi beside the cable, it takes over.

// When each remedy is tried, after the router was first found silent.
const (
	bounceAfter  = 2 * time.Minute
	noEEEAfter   = 5 * time.Minute
	restartAfter = 20 * time.Minute // and twice as long after each restart
	restartLimit = 24 * time.Hour
	// calm is how long the router must have answered before the next silence
	// counts as a new one: a port that stops an hour after each start must not
	// restart the node every hour for ever.
	calm = time.Hour
)

// restartsFile counts the restarts that did not help, across those restarts.
const restartsFile = stateDir + "/link-restarts"

// port is a way out of the node: a network port and the router behind it.
type port struct {
	Dev, Gateway string
	Metric       int // the kernel takes the way with the lowest
}

// remedy is what was done last against a silence.
type remedy int

const (
	noRemedy remedy = iota
	bounced
	bouncedNoEEE
	restartTold // the node restarts at the next look: this one reports it first
	leftAlone   // none is needed, as the node can be reached
)

// link is what is known of the current silence, and what was tried against it.
// At most one of since and well is set.
type link struct {
	since time.Time // when it began; zero if the router is not silent
	well  time.Time // since when the router answers; zero if it does not
	done  remedy
	told  *Problem // what was reported last: it holds until something else is due
	aside aside    // outlives a silence: a port that falls silent again soon is off for longer
	anew  anew
}

// begin counts a silence from now on, as if nothing had been tried against it.
// It only keeps what must not be repeated soon, although the silence is another
// one: switching ports off (aside), and asking DHCP (anew).
func (l *link) begin(now time.Time) {
	*l = link{since: now, aside: l.aside, anew: l.anew}
}

// look judges the ports and does what is due. A fault of theirs is the cause of
// whatever else is wrong with a member, so it is reported in its place. The
// exceptions are link-router and link-aside, which come after other faults.
func (l *link) look(ctx context.Context, m *machine) *Problem {
	if member, err := m.exists(joinedFile); err != nil || !member {
		return nil
	}
	s := m.silentPorts(ctx)
	now := m.Clock.Now()
	if now.Before(l.aside.until) {
		if s.answered {
			return l.told
		}
		l.aside.end(ctx, m) // the way that took over is silent, too
	}
	switch {
	case s.answered:
		l.answered(m, now)
		return nil
	case len(s.ports) == 0: // no cable, or nothing is known: neither silence nor an answer
		*l = link{}
		return m.unplugged(ctx)
	}
	if l.since.IsZero() { // a single missing answer does not count
		l.begin(now)
		return nil
	}
	if s.others || m.reachesCluster(ctx) {
		l.begin(now)
		l.done = leftAlone
		err := l.anew.ask(ctx, m, s.ports, now)
		return problem("link-router", s.ports[0].Gateway, s.ports[0].Dev).because(err)
	}
	if l.done == leftAlone {
		l.begin(now)
	}
	if s.spare {
		return l.takeOver(ctx, m, s.ports, now)
	}
	return l.mend(ctx, m, s.ports, now)
}

// unplugged reports a missing cable, which a server without other nodes does
// not notice: it works on, but nobody reaches it.
func (m *machine) unplugged(ctx context.Context) *Problem {
	links, err := m.Net.Links(ctx)
	if err != nil || len(links) == 0 || slices.ContainsFunc(links, func(l Link) bool { return l.Carrier }) {
		return nil
	}
	return m.unlinked(links)
}

// answered forgets the silence, and once the router has answered for as long as
// calm, also the restarts and how long a port was off.
func (l *link) answered(m *machine, now time.Time) {
	if l.well.IsZero() { // the silence is over
		*l = link{well: now, aside: l.aside}
	}
	if now.Sub(l.well) < calm {
		return
	}
	l.aside = aside{}
	if some, err := m.exists(restartsFile); err == nil && some {
		_ = m.Files.Remove(restartsFile) // if that fails, the next look repeats it
	}
}

// mend applies the next remedy that is due, one at a time.
func (l *link) mend(ctx context.Context, m *machine, ports []port, now time.Time) *Problem {
	first, silent := ports[0], now.Sub(l.since)
	restarts, err := m.linkRestarts()
	if err != nil {
		return problem("unexpected", err.Error()).because(err)
	}
	pause := min(restartAfter<<min(restarts, 10), restartLimit)
	switch {
	case silent >= pause && l.done != restartTold:
		l.done = restartTold
		l.told = problem("link-restart", first.Gateway, first.Dev, strconv.Itoa(restarts+1))
	case silent >= pause:
		*l = link{since: now} // if the node stays on, all is tried again
		l.told = problem("link-restart", first.Gateway, first.Dev, strconv.Itoa(restarts+1))
		if err := m.restartForLink(ctx, restarts+1); err != nil {
			l.told = problem("unexpected", err.Error()).because(err)
		}
	case silent >= noEEEAfter && (l.done == noRemedy || l.done == bounced):
		l.done = bouncedNoEEE
		err = errors.Join(m.switchEEEOff(ctx, ports), m.bounce(ctx, ports))
		l.told = problem("link-no-eee", first.Gateway, first.Dev, l.since.Add(pause).UTC().Format("15:04 UTC")).because(err)
	case silent >= bounceAfter && l.done == noRemedy:
		l.done = bounced
		err = m.bounce(ctx, ports)
		l.told = problem("link-bounced", first.Gateway, first.Dev).because(err)
	case l.done == noRemedy:
		l.told = problem("link-silent", first.Gateway, first.Dev)
	}
	return l.told
}

// linkRestarts returns how often the node has restarted itself for its link.
func (m *machine) linkRestarts() (int, error) {
	data, err := m.read(restartsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || n < 0 { // no power cut does that, but a person can
		return 0, nil
	}
	return n, nil
}

// restartForLink restarts the node only if the count is stored: otherwise the
// pauses would never grow.
func (m *machine) restartForLink(ctx context.Context, count int) error {
	if err := m.write(text644(restartsFile, strconv.Itoa(count)+"\n")); err != nil {
		return err
	}
	return m.Reboot(ctx)
}

// switchEEEOff ends energy saving. A port that has none refuses that.
func (m *machine) switchEEEOff(ctx context.Context, ports []port) error {
	var errs []error
	for _, dev := range m.chips(devices(ports)) {
		_, err := m.Programs.Run(ctx, "ethtool", "--set-eee", dev, "eee", "off")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// bounce takes ports down and up again, which also resets their chips.
func (m *machine) bounce(ctx context.Context, ports []port) error {
	var errs []error
	for _, dev := range m.chips(devices(ports)) {
		_, down := m.Programs.Run(ctx, "ip", "link", "set", "dev", dev, "down")
		wait := m.Clock.Sleep(ctx, 2*time.Second)
		// The port must come up again even if this program is being stopped.
		_, up := m.Programs.Run(context.WithoutCancel(ctx), "ip", "link", "set", "dev", dev, "up")
		errs = append(errs, down, wait, up)
	}
	return errors.Join(errs...)
}

// chips returns the devices, each once, that send what leaves through devs: a
// VLAN has no chip of its own. The kernel takes it down and up with its port.
func (m *machine) chips(devs []string) (chips []string) {
	for _, dev := range devs {
		var lower []string
		names, _ := m.Files.List("/sys/class/net/" + dev) // if that fails, dev itself is better than nothing
		for _, name := range names {
			if below, ok := strings.CutPrefix(name, "lower_"); ok {
				lower = append(lower, below)
			}
		}
		if len(lower) == 0 {
			chips = append(chips, dev)
		} else {
			chips = append(chips, m.chips(lower)...)
		}
	}
	slices.Sort(chips)
	return slices.Compact(chips)
}

// reachesCluster reports whether another server answers over the tailnet: then
// this node can be reached, too.
func (m *machine) reachesCluster(ctx context.Context) bool {
	s, err := m.survey(ctx)
	return err == nil && s.alive.IsValid()
}

// silence is what the ways out said when they were asked. It has no ports if
// the kernel's first choice answered, or if nothing is known.
type silence struct {
	ports    []port // those with a cable whose routers do not answer
	others   bool   // another device on those cables answers: then the ports are fine
	spare    bool   // a way that the kernel takes only without those ports answers
	answered bool
}

// silentPorts asks the ways out, the kernel's first choice first.
func (m *machine) silentPorts(ctx context.Context) (s silence) {
	ways, err := m.waysOut(ctx)
	if err != nil {
		return silence{}
	}
	for _, p := range ways {
		said, other := m.asks(ctx, p)
		switch {
		case said == unknown:
			return silence{}
		case said == something && p.Metric > ways[0].Metric:
			s.spare = true
			return s
		case said == something: // among equals, the kernel itself avoids a router that it does not find
			return silence{answered: true}
		}
		s.ports, s.others = append(s.ports, p), s.others || other
	}
	return s
}

// reply is what is known of a router's answer.
type reply int

const (
	unknown reply = iota // it cannot be asked
	something
	nothing
)

// waysOut lists the default routes over ports with a cable, in the kernel's
// order of preference. If no port has an address, each port with a cable counts
// as one, with DHCP as its router.
func (m *machine) waysOut(ctx context.Context) (ways []port, err error) {
	links, err := m.Net.Links(ctx)
	if err != nil {
		return nil, err
	}
	for _, family := range []string{"-4", "-6"} {
		var routes []port
		_ = m.ip(ctx, &routes, family, "route", "show", "default") // a kernel without IPv6 has none
		for _, r := range routes {
			plugged := slices.ContainsFunc(links, func(l Link) bool { return l.Name == r.Dev && l.Carrier })
			if plugged && !slices.Contains(ways, r) {
				ways = append(ways, r)
			}
		}
	}
	sortWays(ways)
	if len(ways) > 0 || slices.ContainsFunc(links, func(l Link) bool { return len(l.Addresses) > 0 }) {
		return ways, nil
	}
	for _, l := range links {
		if l.Carrier {
			ways = append(ways, port{Dev: l.Name, Gateway: "DHCP"})
		}
	}
	return ways, nil
}

// unheard are the neighbour states of a router that has not answered within the
// twelve seconds of asks. Any packet from it makes it STALE, even a question of
// its own, and from there the kernel probes by itself: by then it is REACHABLE,
// or it is not there.
var unheard = []string{"FAILED", "INCOMPLETE", "STALE", "DELAY", "PROBE"}

// asks finds out whether the router of a port answers, by ARP or IPv6's
// neighbour discovery, which no router may refuse. others reports whether
// another neighbour answered in the last half minute.
func (m *machine) asks(ctx context.Context, p port) (said reply, others bool) {
	const fresh = "REACHABLE"
	if p.Gateway == "" { // a modem: there is no router to ask
		return something, false
	}
	near := m.neighbours(ctx, p.Dev)
	if near[p.Gateway] == fresh {
		return something, false
	}
	if p.Gateway != "DHCP" {
		// Twelve seconds: the kernel waits five before it doubts a neighbour,
		// and then probes three times.
		if _, err := m.Programs.Run(ctx, "ping", "-n", "-c", "1", "-w", "12", "-I", p.Dev, p.Gateway); err == nil {
			return something, false
		}
		near = m.neighbours(ctx, p.Dev)
	}
	for _, state := range near {
		others = others || state == fresh
	}
	switch state := near[p.Gateway]; {
	case state == fresh:
		return something, false
	case p.Gateway == "DHCP" || slices.Contains(unheard, state):
		return nothing, others
	}
	return unknown, false
}

// neighbours returns the states of the neighbours on a port, by address.
func (m *machine) neighbours(ctx context.Context, dev string) map[string]string {
	var list []struct {
		Dst   string
		State []string
	}
	if err := m.ip(ctx, &list, "neigh", "show", "dev", dev); err != nil {
		return nil
	}
	out := map[string]string{}
	for _, n := range list {
		out[n.Dst] = strings.Join(n.State, " ")
	}
	return out
}

// ip runs ip(8) (iproute2 6.15) and parses its JSON.
func (m *machine) ip(ctx context.Context, into any, args ...string) error {
	out, err := m.Programs.Run(ctx, append([]string{"ip", "-j"}, args...)...)
	if err != nil || strings.TrimSpace(out) == "" {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

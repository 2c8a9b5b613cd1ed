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

// link: a member whose router is silent though the cable is good. The port of
// a Pi 4 stops sending at times (raspberrypi/linux#7024): the node lives, the
// watchdog is fed, and nobody can reach it until somebody pulls the plug. What
// brings it back is tried from the gentle end: the port off and on, the same
// without energy saving, the node off and on, at growing intervals as the
// router itself may be what is dead. Whoever is still reached is left alone.

// When what is tried, after the router was first found silent.
const (
	bounceAfter  = 2 * time.Minute
	noEEEAfter   = 5 * time.Minute
	restartAfter = 20 * time.Minute // and twice as long after each restart
	restartLimit = 24 * time.Hour
	// calm is how long the router must have answered until the next silence is
	// a new one: a port that stops an hour after each start must not restart the
	// node hourly for ever.
	calm = time.Hour
)

// restartsFile counts the restarts that did not help. It outlives them.
const restartsFile = stateDir + "/link-restarts"

// port is a way out of the node: a network port and the router behind it.
type port struct {
	Dev, Gateway string
}

// link is what was tried in this silence.
type link struct {
	since time.Time // it is silent; zero while it is not
	well  time.Time // it has answered
	done  string    // code of what was done last
	told  *Problem
}

// look judges the ports and does what is due. What is wrong with them is the
// cause of whatever else is wrong with a member, so it is told in its place; a
// silent router (link-router) only where nothing else is.
func (l *link) look(ctx context.Context, m *machine) *Problem {
	if member, err := m.exists(joinedFile); err != nil || !member {
		return nil
	}
	ports, others, answered := m.silentPorts(ctx)
	now := m.Clock.Now()
	switch {
	case answered:
		l.answered(m, now)
		return nil
	case len(ports) == 0: // no cable, or nothing can be said: that is no silence, and no answer
		*l = link{}
		return m.unplugged(ctx)
	}
	l.well = time.Time{}
	if l.since.IsZero() { // one answer that is missing is none
		l.since = now
		return nil
	}
	if others || m.reachesCluster(ctx) {
		*l = link{since: now, done: "link-router"}
		return problem("link-router", ports[0].Gateway, ports[0].Dev)
	}
	if l.done == "link-router" {
		*l = link{since: now}
	}
	return l.mend(ctx, m, ports, now)
}

// unplugged names what a server alone does not feel: it goes on, and nobody reaches
// it.
func (m *machine) unplugged(ctx context.Context) *Problem {
	links, err := m.Net.Links(ctx)
	if err != nil || len(links) == 0 || slices.ContainsFunc(links, func(l Link) bool { return l.Carrier }) {
		return nil
	}
	return m.unlinked(links)
}

// answered forgets the restarts once the router has answered for long.
func (l *link) answered(m *machine, now time.Time) {
	if l.well.IsZero() {
		*l = link{well: now}
	}
	if now.Sub(l.well) < calm {
		return
	}
	if some, err := m.exists(restartsFile); err == nil && some {
		_ = m.Files.Remove(restartsFile) // looked for again in half a minute
	}
}

// mend does the next thing that is due, one at a time.
func (l *link) mend(ctx context.Context, m *machine, ports []port, now time.Time) *Problem {
	first, silent := ports[0], now.Sub(l.since)
	restarts, err := m.linkRestarts()
	if err != nil {
		return problem("unexpected", err.Error()).because(err)
	}
	pause := min(restartAfter<<min(restarts, 10), restartLimit)
	switch {
	case silent >= pause && l.done != "link-restart":
		l.done = "link-restart" // at the next look: it must be told first
		l.told = problem(l.done, first.Gateway, first.Dev, strconv.Itoa(restarts+1))
	case silent >= pause:
		*l = link{since: now} // should the node stay on, it is tried again
		l.told = problem("link-restart", first.Gateway, first.Dev, strconv.Itoa(restarts+1))
		if err := m.restartForLink(ctx, restarts+1); err != nil {
			l.told = problem("unexpected", err.Error()).because(err)
		}
	case silent >= noEEEAfter && (l.done == "" || l.done == "link-bounced"):
		l.done = "link-no-eee"
		err = m.bounce(ctx, ports, true)
		l.told = problem(l.done, first.Gateway, first.Dev, l.since.Add(pause).UTC().Format("15:04 UTC")).because(err)
	case silent >= bounceAfter && l.done == "":
		l.done = "link-bounced"
		err = m.bounce(ctx, ports, false)
		l.told = problem(l.done, first.Gateway, first.Dev).because(err)
	case l.done == "":
		l.told = problem("link-silent", first.Gateway, first.Dev)
	}
	return l.told
}

// linkRestarts reads how often the node has restarted itself.
func (m *machine) linkRestarts() (int, error) {
	data, err := m.read(restartsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || n < 0 { // a power cut cannot do that, a person can
		return 0, nil
	}
	return n, nil
}

// restartForLink restarts the node only when that will be remembered:
// otherwise it would never wait longer.
func (m *machine) restartForLink(ctx context.Context, count int) error {
	if err := m.write(text644(restartsFile, strconv.Itoa(count)+"\n")); err != nil {
		return err
	}
	err := m.Reboot(ctx)
	return err
}

// bounce takes ports down and up again, which also resets their chips. A port
// without EEE refuses to have it switched off, and is bounced all the same.
func (m *machine) bounce(ctx context.Context, ports []port, noEEE bool) error {
	var errs []error
	done := map[string]bool{} // a port may lead to a router of IPv4 and to one of IPv6
	for _, p := range ports {
		if done[p.Dev] {
			continue
		}
		done[p.Dev] = true
		if noEEE {
			_, err := m.Programs.Run(ctx, "ethtool", "--set-eee", p.Dev, "eee", "off")
			errs = append(errs, err)
		}
		_, down := m.Programs.Run(ctx, "ip", "link", "set", "dev", p.Dev, "down")
		wait := m.Clock.Sleep(ctx, 2*time.Second)
		// Whoever stops this program must not leave the port down.
		_, up := m.Programs.Run(context.WithoutCancel(ctx), "ip", "link", "set", "dev", p.Dev, "up")
		errs = append(errs, down, wait, up)
	}
	return errors.Join(errs...)
}

// reachesCluster reports whether another server answers over the tailnet: then
// this node is reached as well.
func (m *machine) reachesCluster(ctx context.Context) bool {
	s, err := m.survey(ctx)
	return err == nil && s.alive.IsValid()
}

// silentPorts returns the ports with a cable whose routers do not answer, none
// where one did, which answered tells, or nothing can be said. others is whether
// somebody else on those cables answers: then the ports are fine.
func (m *machine) silentPorts(ctx context.Context) (silent []port, others, answered bool) {
	ways, err := m.waysOut(ctx)
	if err != nil {
		return nil, false, false
	}
	for _, p := range ways {
		said, other := m.asks(ctx, p)
		if said != nothing {
			return nil, false, said == something
		}
		silent, others = append(silent, p), others || other
	}
	return silent, others, false
}

// reply is what was heard of a router.
type reply int

const (
	unknown reply = iota // it cannot be asked
	something
	nothing
)

// waysOut lists the default routes over ports with a cable. Where there is none
// a port without an address, which DHCP gave none, is taken for one.
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

// unheard are the states of a neighbour that did not answer twelve seconds of
// questions. Any packet from it, a question of its own too, makes it STALE, and
// from there the kernel asks by itself: it is REACHABLE by then, or not there.
var unheard = []string{"FAILED", "INCOMPLETE", "STALE", "DELAY", "PROBE"}

// asks finds out whether the router of a port answers, by ARP or its like for
// IPv6, which no router keeps to itself. others is whether another neighbour
// answered in the last half minute.
func (m *machine) asks(ctx context.Context, p port) (said reply, others bool) {
	const fresh = "REACHABLE"
	if p.Gateway == "" { // a modem: there is nobody to ask
		return something, false
	}
	near := m.neighbours(ctx, p.Dev)
	if near[p.Gateway] == fresh {
		return something, false
	}
	if p.Gateway != "DHCP" {
		// Twelve seconds: the kernel waits five before it doubts a neighbour, and
		// asks three times.
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

// neighbours are the states of those on a cable, by address.
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

// ip asks ip(8), iproute2 6.15, in its JSON.
func (m *machine) ip(ctx context.Context, into any, args ...string) error {
	out, err := m.Programs.Run(ctx, append([]string{"ip", "-j"}, args...)...)
	if err != nil || strings.TrimSpace(out) == "" {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

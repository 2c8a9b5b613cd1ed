package lab

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// outlook is what to expect of a failure.
type outlook struct {
	goesOn bool
	words  string
	// watcher is a server that can be asked, "" if none has power.
	watcher string
	// gone are the cluster's nodes that will be missing if the cluster goes on.
	gone []string
}

// expect counts votes: etcd goes on while more than half of its members reach each other.
// Dead machines have no power. The machines of a site that is cut off keep running, and can
// still be asked.
func (l *Lab) expect(dead []string, cut string) outlook {
	islands := l.islands(dead, cut)
	best, anywhere := "", ""
	for _, at := range slices.Sorted(maps.Keys(islands)) {
		if votes(islands[at]) > votes(islands[best]) {
			best = at
		}
		anywhere = cmp.Or(anywhere, server(islands[at]))
	}
	left, total := islands[best], votes(l.Plan.Machines)
	o := outlook{goesOn: 2*votes(left) > total && server(left) != "", watcher: cmp.Or(server(left), anywhere)}
	without := l.nodes(func(m Machine) bool { return !holds(left, m.Node) })
	o.gone = l.members(without)
	count, away := fmt.Sprintf("%d of %d votes", votes(left), total), cmp.Or(cut, and(dead))
	switch {
	case o.goesOn && best != "":
		o.words = fmt.Sprintf("%s are at %s: the cluster goes on there, without %s", count, best, and(without))
	case o.goesOn:
		o.words = fmt.Sprintf("%s are left: the cluster goes on without %s", count, cmp.Or(and(without), "anything at "+away))
	case 2*votes(left) > total:
		o.words = fmt.Sprintf("%s are left, and no server is among them: the cluster stops until %s is back", count, away)
	case slices.Contains(dead, l.Fleet.Control()):
		o.words = fmt.Sprintf("without %s no site reaches another, and %s are together: the cluster stops", away, count)
	default:
		o.words = fmt.Sprintf("%s are left: the cluster stops until %s is back", count, away)
	}
	return o
}

func and(names []string) string { return strings.Join(names, " and ") }

func holds(machines []Machine, name string) bool {
	return slices.ContainsFunc(machines, func(m Machine) bool { return m.Node == name })
}

// islands are the groups of machines that reach each other, by site if a site is alone. In
// the lab all traffic between sites is relayed by Headscale's machine; without that machine
// each site is alone.
func (l *Lab) islands(dead []string, cut string) map[string][]Machine {
	relay := !slices.Contains(dead, l.Fleet.Control())
	out := map[string][]Machine{}
	for _, m := range l.Plan.Machines {
		at := ""
		if m.Site == cut || !relay {
			at = m.Site
		}
		if !slices.Contains(dead, m.Node) {
			out[at] = append(out[at], m)
		}
	}
	return out
}

func votes(machines []Machine) (n int) {
	for _, m := range machines {
		if m.Role.Votes() {
			n++
		}
	}
	return n
}

// server is the first server among machines, "" if there is none.
func server(machines []Machine) string {
	for _, m := range machines {
		if m.Role == node.Server {
			return m.Node
		}
	}
	return ""
}

// sight is the result of asking a server once: the nodes that are ready, or that the API did
// not answer, or something that shows neither.
type sight struct {
	ready   []string
	silent  bool
	unclear string
}

// verdict compares an outlook with what is seen.
type verdict struct {
	outlook
	seen  string
	since time.Time // since when it matches the outlook, zero if it does not
}

// steady is how long the state must match the outlook: a cluster that is about to stop still
// answers for a while, and one that elects a leader does not answer for a while.
const steady = time.Minute

// hear takes what was seen at a time, and tells whether the expectation is met.
func (v *verdict) hear(s sight, at time.Time) bool {
	kept := false
	switch {
	case s.unclear != "":
		v.seen = v.watcher + " " + s.unclear
	case s.silent:
		v.seen, kept = v.watcher+" does not answer for the cluster", !v.goesOn
	default:
		v.seen = fmt.Sprintf("%s answers for the cluster, with %s ready", v.watcher, strings.Join(s.ready, ", "))
		kept = v.goesOn && !slices.ContainsFunc(v.gone, func(name string) bool { return slices.Contains(s.ready, name) })
	}
	if !kept {
		v.since = time.Time{}
		return false
	}
	if v.since.IsZero() {
		v.since = at
	}
	return at.Sub(v.since) >= steady
}

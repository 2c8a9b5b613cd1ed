package rollout

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// The order. What may go wrong with an update goes wrong at its first node, so that
// is one whose loss costs least: an agent, at one site, which soaks before the next
// site begins; then that site's servers. With a new minor version of k3s this cannot
// be: no kubelet may be newer than the oldest API server that it may ask
// (kubernetes.io, "Version Skew Policy"), and agents ask all servers. So all servers
// come before the first agent then, in a phase of their own, each with a soak after
// its first site; a witness, which has a kubelet, behind them.
//
// The machine with Headscale is always the last: while it restarts, no node that
// came back could join the others, and who is far away is not found. So it restarts
// when no other has to.

// Phases: none begins before the one before it has ended.
const (
	serversPhase = iota // of a new minor version, as is the next
	witnessPhase
	workPhase
	controlPhase
)

func (t Target) phaseOf(minor bool) int {
	switch {
	case t.control:
		return controlPhase
	case minor && t.Role == node.Server:
		return serversPhase
	case minor && t.Role == node.Witness:
		return witnessPhase
	}
	return workPhase
}

// rank is a role's place in its phase, at one site.
func rank(r node.Role) int {
	return slices.Index([]node.Role{node.Agent, node.Server, node.Witness, node.Control}, r)
}

// order sorts the targets: by phase, by site, the canary's first, by role, and as the
// fleet's file has them.
func order(targets []Target, canary string, minor bool) ([]Target, error) {
	all := slices.Clone(targets)
	for i := range all {
		all[i].phase = all[i].phaseOf(minor)
	}
	var sites []string // in the file's order
	for _, t := range all {
		sites = append(sites, t.Site)
	}
	less := func(a, b Target) int {
		return cmp.Or(
			cmp.Compare(a.phase, b.phase),
			cmp.Compare(slices.Index(sites, a.Site), slices.Index(sites, b.Site)),
			cmp.Compare(rank(a.Role), rank(b.Role)))
	}
	first, err := leader(all, canary, less)
	if err != nil {
		return nil, err
	}
	sites = slices.Insert(sites, 0, first.Site)
	slices.SortStableFunc(all, less)
	if at := slices.IndexFunc(all, func(t Target) bool { return t.Name == canary }); at > 0 {
		all = slices.Insert(slices.Delete(all, at, at+1), 0, first)
	}
	return all, nil
}

// leader is who goes first: the canary, or the first agent, or whoever the order has.
func leader(all []Target, canary string, less func(a, b Target) int) (Target, error) {
	first := slices.MinFunc(all, less)
	if canary == "" {
		for _, t := range all { // the first site is one with an agent to lose
			if t.Role == node.Agent && first.phase == workPhase {
				return t, nil
			}
		}
		return first, nil
	}
	at := slices.IndexFunc(all, func(t Target) bool { return t.Name == canary })
	switch {
	case at < 0:
		return first, fmt.Errorf("--canary %s: it is not among the nodes that get the update", canary)
	case all[at].phase != first.phase && all[at].control:
		return first, fmt.Errorf("--canary %s: it runs Headscale, and comes last", canary)
	case all[at].phase != first.phase:
		return first, fmt.Errorf("--canary %s: the update has a new minor version of k3s, and servers have to come first: name one, such as %s", canary, first.Name)
	}
	return all[at], nil
}

// group are the nodes of the first site, of servers or of those that work: all others
// wait for them once.
type group struct {
	site   string
	phase  int
	soaked bool
	done   []Outcome
}

// enter takes in a node that is done.
func (g *group) enter(t Target, d Outcome) {
	if len(g.done) == 0 || t.phase == workPhase && g.phase != workPhase {
		*g = group{site: t.Site, phase: t.phase}
	}
	if t.Site == g.site {
		g.done = append(g.done, d)
	}
}

// leave tells whether the first site has to soak before a node begins.
func (g *group) leave(t Target) bool {
	if len(g.done) == 0 || g.soaked || t.Site == g.site {
		return false
	}
	g.soaked = true
	return true
}

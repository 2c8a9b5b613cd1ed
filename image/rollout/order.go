package rollout

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// The order of a rollout. A faulty update fails at the first node, so that node should be
// the one whose loss costs least: an agent, whose site then soaks before the next site
// begins; the site's servers follow its agents. A new minor version of k3s does not allow
// this order: no kubelet may be newer than the oldest API server that it may ask
// (kubernetes.io, "Version Skew Policy"), and agents ask all servers. Then all servers come
// before the first agent, in a phase of their own, and each of the two phases soaks after
// its first site. A witness, which runs a kubelet, comes after the servers.
//
// The machine with Headscale is always last: while it restarts, no node that came back could
// rejoin the tailnet, and remote nodes cannot be reached. So it restarts when no other node
// has to.

// Phases: a phase begins only when the previous one has ended.
const (
	serversPhase = iota // of a new minor version of k3s only, as is witnessPhase
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

// rank is a role's position among the nodes of one phase and site.
func rank(r node.Role) int {
	return slices.Index([]node.Role{node.Agent, node.Server, node.Witness, node.Control}, r)
}

// order sorts the targets: by phase, then by site with the first node's site first, then by
// role, then as in fleet.yaml. A canary goes first.
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

// leader is the node that goes first: the canary, else the first agent (unless a servers'
// phase comes first), else the first in the order.
func leader(all []Target, canary string, less func(a, b Target) int) (Target, error) {
	first := slices.MinFunc(all, less)
	if canary == "" {
		for _, t := range all { // prefer a site with an agent, whose loss costs least
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

// group is the first site of a phase: its servers, or its nodes in the work phase. All other
// sites wait once, until it has soaked.
type group struct {
	site   string
	phase  int
	soaked bool
	done   []Outcome
}

// enter records a node that is done.
func (g *group) enter(t Target, d Outcome) {
	if len(g.done) == 0 || t.phase == workPhase && g.phase != workPhase {
		*g = group{site: t.Site, phase: t.phase}
	}
	if t.Site == g.site {
		g.done = append(g.done, d)
	}
}

// leave tells whether the first site has to soak before node t begins.
func (g *group) leave(t Target) bool {
	if len(g.done) == 0 || g.soaked || t.Site == g.site {
		return false
	}
	g.soaked = true
	return true
}

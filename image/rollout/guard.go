package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/kube"
)

// view is the state of the fleet and the cluster at one moment.
type view struct {
	online  map[string]bool
	reports map[string]inquiry.Life
	nodes   []kube.Node
	sick    []kube.Volume
	// silent says why the cluster or Headscale could not be asked.
	silent []string
}

// look asks Headscale, the nodes and the cluster.
func (r *Rollout) look(ctx context.Context) (v view) {
	complain := func(what string, err error) {
		if err != nil {
			v.silent = append(v.silent, what+": "+err.Error())
		}
	}
	var err error
	v.online, err = r.world.Online(ctx)
	complain("Headscale", err)
	var names []string
	for _, t := range r.all {
		if v.online[t.Name] {
			names = append(names, t.Name)
		}
	}
	v.reports = map[string]inquiry.Life{}
	for i, said := range r.world.Ask(ctx, names...) {
		v.reports[names[i]] = said
	}
	if v.nodes, err = r.world.Nodes(ctx); err == nil {
		v.sick, err = r.world.SickVolumes(ctx)
	}
	complain("the cluster", err)
	return v
}

// allowed waits until nothing prevents the restart of a node. The reasons to wait are
// reported once.
func (r *Rollout) allowed(ctx context.Context, t Target) error {
	said := false
	return r.await(ctx, r.o.Heal, func() ([]string, error) {
		against := r.against(r.look(ctx), t)
		if len(against) > 0 && !said {
			r.Say(t.Name, "may not restart yet: "+strings.Join(against, "; "))
			said = true
		}
		return against, ctx.Err()
	})
}

// against lists what prevents the restart of a node at this moment. For a node outside the
// cluster only its own state counts.
func (r *Rollout) against(v view, t Target) (all []string) {
	if t.blind { // the node may be ill, and the restart may be its cure
		return nil
	}
	if said, asked := v.reports[t.Name]; !asked {
		all = append(all, t.Name+" is offline")
	} else if !said.Well() {
		all = append(all, fmt.Sprintf("%s is not well: %s", t.Name, said.Line()))
	}
	if !t.inCluster() {
		return all
	}
	all = append(all, v.silent...)
	if len(v.silent) > 0 {
		return all
	}
	for _, other := range r.all {
		if other.Name != t.Name && other.inCluster() {
			all = append(all, v.fault(other, t.Role.Votes())...)
		}
	}
	for _, s := range v.sick {
		all = append(all, sickWords(s))
	}
	return all
}

// fault says why t, which is not the node about to restart, makes that restart unsafe. If
// the restarting node votes in etcd (voterGoes), every other voter must be healthy, whatever
// its site. A node without a vote that is known to be offline does not matter, nor does a
// node that has yet to join. A node is cordoned before the last look at the others, so of two
// concurrent rollouts at least one sees the other's cordon.
func (v view) fault(t Target, voterGoes bool) []string {
	vote := voterGoes && t.Role.Votes()
	if !v.online[t.Name] && !vote {
		return nil
	}
	at := slices.IndexFunc(v.nodes, func(n kube.Node) bool { return n.Name == t.Name })
	what := string(t.Role) + " " + t.Name
	switch said := v.reports[t.Name]; {
	case at < 0 && t.posted:
		return nil
	case at < 0:
		return []string{what + " is no node of the cluster"}
	case v.nodes[at].Fault != "":
		return []string{what + " is not ready: " + v.nodes[at].Fault}
	case vote && v.nodes[at].VoteFault != "":
		return []string{what + " does not vote: " + v.nodes[at].VoteFault}
	case vote && !said.Well(): // a node on trial may restart by itself
		return []string{what + " is not well: " + said.Line()}
	case vote && v.nodes[at].Cordoned && v.nodes[at].Mark == by: // another rollout's cordon: concurrent rollouts see each other here
		return []string{fmt.Sprintf("%s: a rollout has emptied it, or left it cordoned (kubectl uncordon %s)", what, t.Name)}
	}
	return nil
}

// quorum checks once more before the restart. Volumes do not count here: after the drain,
// missing replicas are expected.
func (r *Rollout) quorum(ctx context.Context, t Target) []string {
	v := r.look(ctx)
	v.sick = nil
	return r.against(v, t)
}

// downtime says why the cluster's API will not answer while the node restarts, "" if it
// will.
func (r *Rollout) downtime(t Target) string {
	voters, servers := 0, 0
	for _, o := range r.all {
		if o.posted {
			continue
		}
		if o.Role.Votes() {
			voters++
		}
		if o.Role == node.Server {
			servers++
		}
	}
	switch {
	case t.Role == node.Server && servers == 1:
		return "the cluster's API does not answer meanwhile: it is the only server"
	case t.Role.Votes() && voters == 2:
		return "the cluster's API does not answer meanwhile: of two voters both are needed"
	}
	return ""
}

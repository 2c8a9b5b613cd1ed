package rollout

import (
	"context"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Plan is what Run would do, and what prevents it at this moment.
type Plan struct {
	Updates []Update `json:"updates"`
	// NewMinor says that the update has a new minor version of k3s, so servers come before
	// agents.
	NewMinor bool      `json:"newMinor"`
	Steps    []Step    `json:"steps"`
	LeftOut  []LeftOut `json:"leftOut,omitempty"`
}

// Step is one node's turn.
type Step struct {
	Node string    `json:"node"`
	Role node.Role `json:"role"`
	Site string    `json:"site"`
	Do   []string  `json:"do"`
	// Note is what users will notice meanwhile.
	Note string `json:"note,omitempty"`
	// Against is what Run would wait for if it were this node's turn now.
	Against []string `json:"against,omitempty"`
}

// Plan asks Headscale, the nodes and the cluster for their state, and changes nothing.
func (r *Rollout) Plan(ctx context.Context) Plan {
	p := Plan{Updates: r.updates, NewMinor: r.minor, LeftOut: r.leftOut}
	v, g := view{}, group{}
	if r.o.Restart {
		v = r.look(ctx)
	}
	for _, t := range r.order {
		s := Step{Node: t.Name, Role: t.Role, Site: t.Site}
		if r.o.Restart {
			if g.leave(t) {
				s.Do = append(s.Do, fmt.Sprintf("wait until %s has run the update for %v", strings.Join(nodesOf(g.done), ", "), r.o.Soak))
			}
			s.Note, s.Against = r.downtime(t), r.against(v, t)
		}
		s.Do = append(s.Do, r.deeds(t)...)
		p.Steps = append(p.Steps, s)
		d := Outcome{}
		d.Node = t.Name
		g.enter(t, d)
	}
	return p
}

// deeds describes the actions on a node.
func (r *Rollout) deeds(t Target) []string {
	if !r.o.Restart {
		return []string{"push the update, which it tries when it restarts next"}
	}
	do := []string{"push the update"}
	if !t.inCluster() {
		return append(do, "restart, and wait until its trial is blessed")
	}
	if t.Role == node.Server {
		do = append(do, "save a snapshot of etcd")
	}
	return append(do,
		fmt.Sprintf("cordon, and drain for %v at most", r.o.Drain),
		"restart, and wait until its trial is blessed",
		"uncordon",
		fmt.Sprintf("wait until Longhorn has healed, for %v at most", r.o.Heal))
}

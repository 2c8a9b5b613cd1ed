package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/roster"
	"github.com/going-mobile/imagebuilder/image/update"
)

// Choice says which nodes are meant.
type Choice struct {
	Names []string
	Site  string
	All   bool
}

// Check wants exactly one way to say it.
func (c Choice) Check() error {
	ways := 0
	for _, said := range []bool{len(c.Names) > 0, c.Site != "", c.All} {
		if said {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("say which nodes: NODE or more, or --site SITE, or --all")
	}
	return nil
}

// Target is a node of the fleet.
type Target struct {
	Name, Site string
	Role       node.Role
	// control says that it runs Headscale.
	control bool
	blind   bool
	phase   int
	version string // of its k3s, as the cluster says
}

// inCluster says that the node is one of Kubernetes', too, and is to be treated so.
func (t Target) inCluster() bool { return t.Role != node.Control && !t.blind }

// LeftOut is a node that a choice of many does not reach.
type LeftOut struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// Update is what the nodes get.
type Update struct {
	Board, Version string
	K3s            string // "" where it has none
	Headscale      bool   // it has one
}

// Of is what an image gives.
func Of(i *update.Image) Update {
	u := Update{Board: i.Label.Board, Version: i.Label.ImageVersion}
	for _, c := range i.Manifest.Components {
		switch c.Name {
		case "k3s":
			u.K3s = c.Version
		case "headscale":
			u.Headscale = true
		}
	}
	return u
}

// Prepare finds who gets the update, in which order, and refuses what cannot end
// well. It changes nothing.
func Prepare(ctx context.Context, f *fleet.Fleet, rows []roster.Row, w World, u Update, c Choice, o Options) (*Rollout, error) {
	r := &Rollout{o: o, world: w, update: u, Say: func(string, string) {}}
	for _, name := range f.Nodes.Names {
		n, _ := f.Nodes.Get(name)
		t := Target{Name: name, Site: n.Site, Role: n.Role.In(), control: n.Role.Controls(), blind: o.Blind}
		r.all = append(r.all, t)
	}
	targets, err := r.choose(f, rows, u, c)
	if err != nil {
		return nil, err
	}
	if o.Blind && len(targets) > 1 {
		return nil, errors.New("without the cluster's word one node restarts at a time: name one")
	}
	if o.Restart && slices.ContainsFunc(targets, Target.inCluster) {
		if err := r.versions(ctx, targets); err != nil {
			return nil, err
		}
	}
	r.minor = newMinor(targets, u.K3s)
	if r.order, err = order(targets, o.Canary, r.minor); err != nil {
		return nil, err
	}
	return r, r.skew(u.K3s)
}

// versions asks the cluster which k3s its nodes run.
func (r *Rollout) versions(ctx context.Context, targets []Target) error {
	nodes, err := r.world.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("nothing was done: %w", err)
	}
	for _, all := range [][]Target{r.all, targets} {
		for i, t := range all {
			if at := slices.IndexFunc(nodes, func(n kube.Node) bool { return n.Name == t.Name }); at >= 0 {
				all[i].version = nodes[at].Version
			}
		}
	}
	return nil
}

// LeftOut are the nodes that a choice of many does not reach.
func (r *Rollout) LeftOut() []LeftOut { return r.leftOut }

// Known refuses what the fleet does not have and, where nobody waits for them, named
// nodes that are offline.
func (c Choice) Known(f *fleet.Fleet, rows []roster.Row, wait time.Duration) error {
	if _, err := c.names(f); err != nil {
		return err
	}
	for _, name := range c.Names {
		if !there(rows, name) && wait == 0 {
			return fmt.Errorf("nothing was done: %s is not there: %s", name, unseen)
		}
	}
	return nil
}

const unseen = "Headscale does not see it ('imagebuilder status'; --wait waits for it)"

// choose sorts out who is meant, and cannot.
func (r *Rollout) choose(f *fleet.Fleet, rows []roster.Row, u Update, c Choice) (targets []Target, err error) {
	if err := c.Known(f, rows, r.o.Wait); err != nil {
		return nil, err
	}
	names, err := c.names(f)
	if err != nil {
		return nil, err
	}
	for _, t := range r.all {
		if !slices.Contains(names, t.Name) {
			continue
		}
		n, _ := f.Nodes.Get(t.Name)
		why := ""
		switch {
		case n.Board != u.Board:
			why = fmt.Sprintf("its board is %s, the image is for %s", n.Board, u.Board)
		case t.control && !u.Headscale:
			why = "it runs Headscale, which the image lacks"
		case !there(rows, t.Name) && r.o.Wait == 0:
			why = unseen
		}
		switch {
		case why == "":
			targets = append(targets, t)
		case len(c.Names) > 0:
			return nil, fmt.Errorf("nothing was done: %s cannot have it: %s", t.Name, why)
		default:
			r.leftOut = append(r.leftOut, LeftOut{t.Name, why})
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("nothing was done: no node is left. %s: %s", r.leftOut[0].Node, r.leftOut[0].Why)
	}
	return targets, nil
}

func there(rows []roster.Row, name string) bool {
	return slices.ContainsFunc(rows, func(r roster.Row) bool {
		return r.Node == name && r.State == roster.Online && r.Address.IsValid()
	})
}

// names are those that are meant, all of which the fleet has.
func (c Choice) names(f *fleet.Fleet) (names []string, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	for i, name := range c.Names {
		if _, err := f.Find(name); err != nil {
			return nil, err
		}
		if slices.Contains(c.Names[:i], name) {
			return nil, fmt.Errorf("%s is named twice", name)
		}
	}
	if _, known := f.Sites[c.Site]; c.Site != "" && !known {
		sites := slices.Sorted(maps.Keys(f.Sites))
		if near := nearest.Name(c.Site, sites); near != "" {
			return nil, fmt.Errorf("the fleet has no site %q; did you mean %q?", c.Site, near)
		}
		return nil, fmt.Errorf("the fleet has no site %q; it has %v", c.Site, sites)
	}
	for _, name := range f.Nodes.Names {
		if n, _ := f.Nodes.Get(name); c.All || c.Site != "" && n.Site == c.Site {
			names = append(names, name)
		}
	}
	if c.Site != "" && len(names) == 0 {
		return nil, fmt.Errorf("site %s has no node", c.Site)
	}
	return append(names, c.Names...), nil
}

package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/roster"
	"github.com/going-mobile/imagebuilder/image/update"
)

// Target is a node of the fleet.
type Target struct {
	Name, Site string
	Role       node.Role
	// control says that the node runs Headscale.
	control bool
	blind   bool
	// posted says that it has never joined: its card is in the post.
	posted  bool
	phase   int
	version string // of its k3s, according to the cluster
	gets    Update
}

// inCluster says that the node is a node of Kubernetes, too, and that the rollout may ask
// the cluster.
func (t Target) inCluster() bool { return t.Role != node.Control && !t.blind }

// LeftOut is a node that was covered by the choice, but does not get the update.
type LeftOut struct {
	Node string `json:"node"`
	Why  string `json:"why"`
	// Unseen says that Headscale does not see the node; otherwise the update does not fit
	// it.
	Unseen bool `json:"unseen,omitempty"`
}

// Update is what the nodes of one board get.
type Update struct {
	Board     string `json:"board"`
	Version   string `json:"version"`
	K3s       string `json:"k3s,omitempty"`       // "" if the image has no k3s
	Headscale bool   `json:"headscale,omitempty"` // the image has Headscale
}

// Of returns the update that an image contains.
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

// Prepare finds the nodes that get the update and their order, and refuses what cannot end
// well. It changes nothing.
func Prepare(ctx context.Context, f *fleet.Fleet, rows []roster.Row, w World, updates []Update, c roster.Choice, o Options) (*Rollout, error) {
	if err := together(updates); err != nil {
		return nil, err
	}
	r := &Rollout{o: o, world: w, updates: updates, Say: func(string, string) {}}
	for _, name := range f.Nodes.Names {
		n, _ := f.Nodes.Get(name)
		t := Target{Name: name, Site: n.Site, Role: n.Role.In(), control: n.Role.Controls(), blind: o.Blind}
		t.posted = slices.ContainsFunc(rows, func(r roster.Row) bool { return r.Node == name && r.New })
		r.all = append(r.all, t)
	}
	targets, err := r.choose(f, rows, c)
	if err != nil {
		return nil, err
	}
	if o.Blind && len(targets) > 1 {
		return nil, errors.New("without the cluster's word one node restarts at a time: name one")
	}
	if slices.ContainsFunc(targets, Target.inCluster) {
		r.silent = r.versions(ctx, targets)
	}
	if r.silent != nil && o.Restart {
		return nil, r.silent
	}
	r.minor = slices.ContainsFunc(targets, Target.newMinor)
	if r.order, err = order(targets, o.Canary, r.minor); err != nil {
		return nil, err
	}
	return r, r.skew()
}

// together refuses images that do not form one update.
func together(updates []Update) error {
	for i, u := range updates {
		for _, other := range updates[:i] {
			switch {
			case u.Board == other.Board:
				return fmt.Errorf("two images are for board %s: %s and %s", u.Board, other.Version, u.Version)
			case u.K3s != "" && other.K3s != "" && minor(u.K3s) != minor(other.K3s):
				return fmt.Errorf("the images have several minor versions of k3s: %s for board %s, %s for board %s", other.K3s, other.Board, u.K3s, u.Board)
			}
		}
	}
	return nil
}

// versions asks the cluster which k3s version its nodes run.
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

// LeftOut are the nodes that the choice covered, but that do not get the update.
func (r *Rollout) LeftOut() []LeftOut { return r.leftOut }

// Known refuses nodes that the fleet does not have and, with wait = 0, named nodes that are
// offline.
func Known(f *fleet.Fleet, rows []roster.Row, c roster.Choice, wait time.Duration) error {
	if _, err := c.Of(f); err != nil || wait > 0 {
		return err
	}
	return there(rows, c.Names, unseen)
}

// there refuses nodes that are offline; why explains it.
func there(rows []roster.Row, names []string, why string) error {
	for _, name := range names {
		if !roster.There(rows, name) {
			return fmt.Errorf("nothing was done: %s is not there: %s", name, why)
		}
	}
	return nil
}

// The explanation for an offline node: where --wait is possible, and where it is not.
const (
	unseen  = roster.Unseen + " ('imagebuilder status'; --wait waits for it)"
	missing = roster.Unseen + " ('imagebuilder status')"
)

// choose splits the chosen nodes into targets and those that are left out.
func (r *Rollout) choose(f *fleet.Fleet, rows []roster.Row, c roster.Choice) (targets []Target, err error) {
	if err := Known(f, rows, c, r.o.Wait); err != nil {
		return nil, err
	}
	names, err := c.Of(f)
	if err != nil {
		return nil, err
	}
	if err := r.meant(f, names); err != nil {
		return nil, err
	}
	for _, t := range r.all {
		if !slices.Contains(names, t.Name) {
			continue
		}
		n, _ := f.Nodes.Get(t.Name)
		why := r.provide(&t, n.Board)
		if why == "" && !roster.There(rows, t.Name) && r.o.Wait == 0 {
			why = unseen
		}
		switch {
		case why == "":
			targets = append(targets, t)
		case len(c.Names) > 0:
			return nil, fmt.Errorf("nothing was done: %s cannot have it: %s", t.Name, why)
		default:
			r.leftOut = append(r.leftOut, LeftOut{t.Name, why, why == unseen})
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("nothing was done: no node is left. %s: %s", r.leftOut[0].Node, r.leftOut[0].Why)
	}
	return targets, nil
}

// meant refuses one of several images if none of the nodes has its board: packing the update
// would take minutes, for nothing.
func (r *Rollout) meant(f *fleet.Fleet, names []string) error {
	for _, u := range r.updates {
		wants := func(name string) bool { n, _ := f.Nodes.Get(name); return n.Board == u.Board }
		if len(r.updates) > 1 && !slices.ContainsFunc(names, wants) {
			return fmt.Errorf("nothing was done: none of the nodes has board %s, for which there is an image", u.Board)
		}
	}
	return nil
}

// provide sets what the target gets for its board, or says why it cannot have it.
func (r *Rollout) provide(t *Target, board string) (why string) {
	at := slices.IndexFunc(r.updates, func(u Update) bool { return u.Board == board })
	if at < 0 {
		var boards []string
		for _, u := range r.updates {
			boards = append(boards, u.Board)
		}
		return fmt.Sprintf("its board is %s, the image is for %s", board, strings.Join(boards, ", another for "))
	}
	t.gets = r.updates[at]
	if t.control && !t.gets.Headscale {
		return "it runs Headscale, which the image lacks"
	}
	return ""
}

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Drill is a failure, what to expect of it according to the fleet's plan, and what was seen.
type Drill struct {
	What    string `json:"what"`
	Promise string `json:"promise"`
	Seen    string `json:"seen"`
	// Kept says that the two agree.
	Kept bool `json:"kept"`
	// Well says that all nodes were ready again afterwards. Mended is how long that took, or
	// how long it was waited for, in seconds.
	Well   bool    `json:"well"`
	Mended float64 `json:"mendedSeconds"`
}

// CutSite cuts off a site, compares what happens with the plan, and connects the site again.
func (l *Lab) CutSite(ctx context.Context, site string) (*Drill, error) {
	if err := CanCut(l.Fleet, site); err != nil {
		return nil, err
	}
	d := &Drill{What: site + " is cut off"}
	if err := l.net.Cut(site, true); err != nil {
		return nil, err
	}
	err := l.look(ctx, d, l.expect(nil, site))
	if err := errors.Join(err, l.net.Cut(site, false)); err != nil {
		return d, err
	}
	return d, l.well(ctx, d)
}

// CanCut says why a site of a fleet cannot be cut off, nil if it can.
func CanCut(f *fleet.Fleet, site string) error {
	host, _ := f.Nodes.Get(f.Control())
	switch _, known := f.Sites[site]; {
	case !known:
		return fmt.Errorf("the fleet has no site %q", site)
	case site == host.Site:
		return fmt.Errorf("%s is where Headscale is, which all others reach: pull the plug of %s instead", site, f.Control())
	}
	return nil
}

// PullPlug switches off a machine, compares what happens with the plan, and switches it on
// again.
func (l *Lab) PullPlug(ctx context.Context, name string) (*Drill, error) {
	m, ok := l.machines[name]
	if !ok {
		_, err := l.Fleet.Find(name)
		return nil, err
	}
	d := &Drill{What: name + " loses its power"}
	m.running().Kill()
	if err := l.look(ctx, d, l.expect([]string{name}, "")); err != nil {
		return d, err
	}
	began := time.Now()
	if err := l.powerOn(ctx, m); err != nil {
		return d, err
	}
	if err := l.joined(ctx, name); err != nil {
		return d, err
	}
	err := l.well(ctx, d)
	d.Mended = time.Since(began).Round(time.Second).Seconds()
	return d, err
}

// nodes are the names of the machines for which which returns true.
func (l *Lab) nodes(which func(Machine) bool) []string {
	var out []string
	for _, m := range l.Plan.Machines {
		if which(m) {
			out = append(out, m.Node)
		}
	}
	return out
}

// look compares the outlook with what a server reports.
func (l *Lab) look(ctx context.Context, d *Drill, o outlook) error {
	d.Promise = o.words
	if o.watcher == "" {
		d.Seen, d.Kept = "no server is left that could be asked", !o.goesOn
		return nil
	}
	v := &verdict{outlook: o}
	err := l.until(ctx, func(ctx context.Context) bool {
		s := ask(ctx, l.machines[o.watcher].running())
		return ctx.Err() == nil && v.hear(s, time.Now())
	})
	d.Seen, d.Kept = v.seen, err == nil
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil // the outlook was not met within the lab's patience
	}
	return err
}

// members are those of names that belong to the cluster.
func (l *Lab) members(names []string) []string {
	return l.nodes(func(m Machine) bool { return m.Role != node.Control && slices.Contains(names, m.Node) })
}

// well waits until every node of the cluster is ready.
func (l *Lab) well(ctx context.Context, d *Drill) error {
	began := time.Now()
	all := l.members(l.nodes(func(Machine) bool { return true }))
	err := l.until(ctx, func(ctx context.Context) bool {
		return len(ask(ctx, l.machines[l.Fleet.Cluster.K3s.Init].running()).ready) == len(all)
	})
	d.Mended = time.Since(began).Round(time.Second).Seconds()
	if err != nil {
		return fmt.Errorf("after %s not all nodes are ready again: %w", d.What, err)
	}
	d.Well = true
	return nil
}

// until calls done again and again, within the lab's patience.
func (l *Lab) until(ctx context.Context, done func(context.Context) bool) error {
	return l.bounded(ctx, func(ctx context.Context) error {
		for !done(ctx) {
			if ctxio.Sleep(ctx, 2*time.Second) != nil {
				return ctx.Err()
			}
		}
		return nil
	})
}

// answerTime is how long an API server may take to answer before it counts as silent.
const answerTime = 40 * time.Second

// console is where commands are run on a machine.
type console interface {
	Run(ctx context.Context, command string) (string, error)
}

// ask asks a server which nodes are ready. The API counts as silent only if its machine
// itself answers.
func ask(ctx context.Context, c console) sight {
	text, err := run(ctx, c, "k3s kubectl get nodes -o json 2>/dev/null")
	if err == nil {
		return read(text)
	}
	if _, err := run(ctx, c, "true"); err != nil {
		return sight{unclear: "cannot be asked"}
	}
	return sight{silent: true}
}

func run(ctx context.Context, c console, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return c.Run(ctx, command)
}

// read parses a list of nodes.
func read(text string) sight {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return sight{unclear: "answers with something else than its nodes"}
	}
	var s sight
	for _, n := range list.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				s.ready = append(s.ready, contract.PlainLine(n.Metadata.Name))
			}
		}
	}
	slices.Sort(s.ready)
	return s
}

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Trial is a misfortune, what the fleet's plan lets one expect of it, and what
// was seen.
type Trial struct {
	What    string `json:"what"`
	Promise string `json:"promise"`
	Seen    string `json:"seen"`
	// Kept says that they agree.
	Kept bool `json:"kept"`
	// Mended is how long all took to be well again, in seconds.
	Mended float64 `json:"mendedSeconds"`
}

// CutSite cuts a site off, looks, and joins it again.
func (l *Lab) CutSite(ctx context.Context, site string) (*Trial, error) {
	if err := l.CanCut(site); err != nil {
		return nil, err
	}
	t := &Trial{What: site + " is cut off"}
	away := l.nodes(func(m Machine) bool { return m.Site == site })
	if err := l.net.Cut(site, true); err != nil {
		return nil, err
	}
	err := l.look(ctx, t, away)
	if err := errors.Join(err, l.net.Cut(site, false)); err != nil {
		return t, err
	}
	return t, l.well(ctx, t)
}

// CanCut says why a site cannot be cut off.
func (l *Lab) CanCut(site string) error {
	switch _, known := l.Fleet.Sites[site]; {
	case !known:
		return fmt.Errorf("the fleet has no site %q", site)
	case site == l.publicSite():
		return fmt.Errorf("%s is where Headscale is, which all others reach: pull the plug of %s instead", site, l.Fleet.Control())
	}
	return nil
}

// PullPlug takes a machine's power, looks, and switches it on again.
func (l *Lab) PullPlug(ctx context.Context, name string) (*Trial, error) {
	m, ok := l.machines[name]
	if !ok {
		_, err := l.Fleet.Find(name)
		return nil, err
	}
	t := &Trial{What: name + " loses its power"}
	m.running().Kill()
	if err := l.look(ctx, t, []string{name}); err != nil {
		return t, err
	}
	began := time.Now()
	if err := l.powerOn(ctx, m); err != nil {
		return t, err
	}
	if err := l.joined(ctx, name); err != nil {
		return t, err
	}
	err := l.well(ctx, t)
	t.Mended = time.Since(began).Round(time.Second).Seconds()
	return t, err
}

// nodes are the names of machines.
func (l *Lab) nodes(which func(Machine) bool) []string {
	var out []string
	for _, m := range l.Plan.Machines {
		if which(m) {
			out = append(out, m.Node)
		}
	}
	return out
}

// outlook is what can be expected while some machines are away.
type outlook struct {
	goesOn bool
	words  string
	// watcher is a server that can be asked, "" where none is left.
	watcher string
}

// expect counts votes: etcd goes on while more than half of its members reach
// each other. In the lab the ways between sites lead over Headscale's relay, so
// without that each site is alone.
func (l *Lab) expect(away []string) outlook {
	is := func(names []string) func(Machine) bool {
		return func(m Machine) bool { return slices.Contains(names, m.Node) }
	}
	voters := l.nodes(func(m Machine) bool { return m.Role == node.Server || m.Role == node.Witness })
	left := slices.DeleteFunc(slices.Clone(l.Plan.Machines), func(m Machine) bool { return !is(voters)(m) || is(away)(m) })
	relay := !slices.Contains(away, l.Fleet.Control())
	var best []Machine
	for site := range l.Fleet.Sites {
		there := slices.DeleteFunc(slices.Clone(left), func(m Machine) bool { return !relay && m.Site != site })
		if len(there) > len(best) {
			best = there
		}
	}
	o := outlook{goesOn: 2*len(best) > len(voters)}
	for _, m := range append(best, left...) {
		if m.Role == node.Server && o.watcher == "" {
			o.watcher = m.Node
		}
	}
	who := strings.Join(away, " and ")
	switch {
	case o.goesOn && o.watcher != "":
		o.words = fmt.Sprintf("%d of %d votes are left: the cluster goes on without %s", len(best), len(voters), who)
	case relay:
		o.words = fmt.Sprintf("%d of %d votes are left: the cluster stops until %s is back", len(best), len(voters), who)
	default:
		o.words = fmt.Sprintf("without %s no site reaches another, and %d of %d votes are together: the cluster stops", who, len(best), len(voters))
	}
	return o
}

// look compares what can be expected with what a server says.
func (l *Lab) look(ctx context.Context, t *Trial, away []string) error {
	o := l.expect(away)
	t.Promise = o.words
	if o.watcher == "" {
		t.Seen, t.Kept = "no server is left that could be asked", !o.goesOn
		return nil
	}
	err := l.until(ctx, func(ctx context.Context) bool {
		ready, err := l.ready(ctx, o.watcher)
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			t.Seen, t.Kept = fmt.Sprintf("%s does not answer for the cluster", o.watcher), !o.goesOn
			return !o.goesOn
		}
		gone := slices.DeleteFunc(l.members(away), func(name string) bool { return slices.Contains(ready, name) })
		t.Seen, t.Kept = fmt.Sprintf("%s answers for the cluster, with %s ready", o.watcher, strings.Join(ready, ", ")), o.goesOn
		return o.goesOn && len(gone) == len(l.members(away))
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		t.Kept = false // for long enough
		return nil
	}
	return err
}

// members leaves out who has no part in the cluster.
func (l *Lab) members(names []string) []string {
	return l.nodes(func(m Machine) bool { return m.Role != node.Control && slices.Contains(names, m.Node) })
}

// well waits until every node of the cluster is ready.
func (l *Lab) well(ctx context.Context, t *Trial) error {
	began := time.Now()
	all := l.members(l.nodes(func(Machine) bool { return true }))
	err := l.until(ctx, func(ctx context.Context) bool {
		ready, err := l.ready(ctx, l.Fleet.Cluster.K3s.Init)
		return err == nil && len(ready) == len(all)
	})
	t.Mended = time.Since(began).Round(time.Second).Seconds()
	if err != nil {
		return fmt.Errorf("after %s not all nodes are ready again: %w", t.What, err)
	}
	return nil
}

// until asks again and again, within the lab's patience.
func (l *Lab) until(ctx context.Context, done func(context.Context) bool) error {
	return l.bounded(ctx, func(ctx context.Context) error {
		for !done(ctx) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(2 * time.Second):
			}
		}
		return nil
	})
}

// answerTime is how long an API server may think before it counts as silent.
const answerTime = 40 * time.Second

// ready asks a server which nodes are ready, sorted.
func (l *Lab) ready(ctx context.Context, server string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	text, err := l.machines[server].running().Run(ctx, "k3s kubectl get nodes -o json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	var out []string
	for _, n := range list.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				out = append(out, n.Metadata.Name)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

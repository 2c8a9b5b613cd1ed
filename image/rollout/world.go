package rollout

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/roster"
	"github.com/going-mobile/imagebuilder/image/update"
)

// outside is the real world: nodes over ssh, the cluster over its API, and Headscale.
type outside struct {
	fleet  *fleet.Fleet
	server roster.Server
	rows   []roster.Row
	// api is the cluster's API client. It is opened anew when its server has gone, or its
	// certificate will expire soon.
	api    *kube.Client
	opened time.Time
	open   func(context.Context, *fleet.Fleet, []kube.Way) (*kube.Client, error)
}

// Outside is the World of a fleet. rows are its nodes as Headscale knows them.
func Outside(f *fleet.Fleet, server roster.Server, rows []roster.Row) World {
	return &outside{fleet: f, server: server, rows: rows, open: openAPI}
}

func (o *outside) Online(ctx context.Context) (map[string]bool, error) {
	rows, err := roster.Read(ctx, o.fleet, o.server, time.Now())
	if err != nil {
		return nil, err
	}
	o.rows = rows
	online := map[string]bool{}
	for _, r := range rows {
		online[r.Node] = roster.There(rows, r.Node)
	}
	return online, nil
}

// subject is the node as of the last answer of Headscale; a restart does not change its
// address.
func (o *outside) subject(name string) (inquiry.Subject, error) {
	return roster.SubjectOf(o.rows, name)
}

func (o *outside) Ask(ctx context.Context, names ...string) []inquiry.Life {
	out := make([]inquiry.Life, len(names))
	var subjects []inquiry.Subject
	var who []int
	for i, name := range names {
		s, err := o.subject(name)
		if err != nil {
			out[i].Silent = err.Error()
			continue
		}
		subjects, who = append(subjects, s), append(who, i)
	}
	for i, said := range inquiry.Live(ctx, o.fleet, subjects) {
		out[who[i]] = said
	}
	return out
}

func (o *outside) Push(ctx context.Context, name, file string) (a update.Answer, err error) {
	s, err := o.subject(name)
	if err != nil {
		return a, err
	}
	return update.Push(ctx, o.fleet, s, file)
}

// Rollback makes nodes, one after the other, try the system before their last update at
// their next restart. It stops at the first node that refuses.
func Rollback(ctx context.Context, f *fleet.Fleet, rows []roster.Row, names []string) (done []update.Answer, err error) {
	if err := there(rows, names, missing); err != nil {
		return nil, err
	}
	o := &outside{fleet: f, rows: rows}
	for _, name := range names {
		s, err := o.subject(name)
		if err != nil {
			return done, err
		}
		a, err := update.Rollback(ctx, f, s)
		if err != nil {
			return done, fmt.Errorf("%s: %w", name, err)
		}
		done = append(done, a)
	}
	return done, nil
}

// Commands on nodes. k3s does not prune snapshots that were made by hand (docs.k3s.io, "k3s
// etcd-snapshot"): a few are enough. If pruning fails, one snapshot too many is no reason to
// stop.
const (
	snapshotCommand = "k3s etcd-snapshot save --name before-update && { k3s etcd-snapshot prune --name before-update --snapshot-retention 3 || :; }"
	restartCommand  = "systemctl --no-block reboot"
)

func (o *outside) Snapshot(ctx context.Context, name string) error {
	return o.tell(ctx, name, snapshotCommand, 10*time.Minute)
}

func (o *outside) Restart(ctx context.Context, name string) error {
	return o.tell(ctx, name, restartCommand, time.Minute)
}

func (o *outside) tell(ctx context.Context, name, command string, limit time.Duration) error {
	s, err := o.subject(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := inquiry.Tell(ctx, o.fleet, s, command, nil); err != nil {
		return fmt.Errorf("%s: %s", command, contract.PlainLine(err.Error()))
	}
	return nil
}

// adminUse is how long one of the owner's certificates is used. A rollout takes longer than
// any certificate should be valid.
const adminUse = kube.AdminLife / 2

func openAPI(ctx context.Context, f *fleet.Fleet, ways []kube.Way) (*kube.Client, error) {
	id, err := f.Identity()
	if err != nil {
		return nil, err
	}
	if id == nil {
		return nil, errors.New("the cluster's authorities are not this fleet's (cluster: k3s: ca:), so its API does not open from here: " +
			"drain a node by kubectl, and restart it with --reboot --no-drain")
	}
	return kube.Open(ctx, id, ways)
}

// ways are the possible connections to the servers.
func (o *outside) ways() (all []kube.Way) {
	for _, name := range o.fleet.Servers() {
		var at []netip.Addr
		if s, err := o.subject(name); err == nil {
			at = append(at, s.Address)
		}
		all = append(all, kube.WaysTo(name, at...)...)
	}
	return all
}

// cluster runs do with the API client. If the API refuses a request, another server would
// refuse it, too; after other errors the next call looks for another server.
func (o *outside) cluster(ctx context.Context, do func(*kube.Client) error) error {
	if o.api == nil || time.Since(o.opened) > adminUse {
		api, err := o.open(ctx, o.fleet, o.ways())
		if err != nil {
			return err
		}
		o.api, o.opened = api, time.Now()
	}
	err := do(o.api)
	var refused *kube.Refusal
	if err != nil && (!errors.As(err, &refused) || refused.Status >= 500) {
		o.api = nil
	}
	return err
}

func (o *outside) Nodes(ctx context.Context) (all []kube.Node, err error) {
	err = o.cluster(ctx, func(c *kube.Client) error { all, err = c.Nodes(ctx); return err })
	return all, err
}

func (o *outside) SickVolumes(ctx context.Context) (all []kube.Volume, err error) {
	err = o.cluster(ctx, func(c *kube.Client) error { all, err = c.SickVolumes(ctx); return err })
	return all, err
}

// by marks the nodes that a rollout cordoned.
const by = "imagebuilder-update"

func (o *outside) Cordon(ctx context.Context, name string) (ours bool, err error) {
	err = o.cluster(ctx, func(c *kube.Client) error { ours, err = c.Cordon(ctx, name, by); return err })
	return ours, err
}

func (o *outside) Uncordon(ctx context.Context, name string) error {
	return o.cluster(ctx, func(c *kube.Client) error { return c.Uncordon(ctx, name, by) })
}

func (o *outside) Pods(ctx context.Context, name string) (all []kube.Pod, err error) {
	err = o.cluster(ctx, func(c *kube.Client) error { all, err = c.Pods(ctx, name); return err })
	return all, err
}

func (o *outside) Evict(ctx context.Context, p kube.Pod) error {
	return o.cluster(ctx, func(c *kube.Client) error { return c.Evict(ctx, p) })
}

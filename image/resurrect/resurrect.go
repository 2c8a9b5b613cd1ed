// Package resurrect makes a cluster anew that has lost all its machines, from what
// is left of it: the fleet's file, the secrets beside it, and buckets. The new one
// has the old one's names, authorities and tokens, so nothing at home changes, and
// Longhorn brings its volumes back, with their claims.
//
// etcd's snapshot is not used: it knows the replicas of volumes by disks that are
// gone, and holds for fact what no machine has. What the cluster ran is in Git, and
// its secrets are the fleet's. Nor does the package wake a cluster that lives: it
// refuses while one of its nodes is online.
package resurrect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/replace"
	"github.com/going-mobile/imagebuilder/image/systembackup"
)

// Options are what the owner knows better.
type Options struct {
	// EvenIfOnline goes on though Headscale calls a node online, as it does for
	// some minutes after a power cut.
	EvenIfOnline bool
	// WithoutVolumes begins with none.
	WithoutVolumes bool
	// SystemBackup is the name of the one to bring back; "" is the newest.
	SystemBackup string
}

// Rising is what has to be done.
type Rising struct {
	fleet  *fleet.Fleet
	server replace.Server

	// headscale is why it does not answer, nil if it does: then its machine comes
	// first.
	headscale error
	members   []headscale.Node // of the tailnet, that were the fleet's nodes
	volumes   *systembackup.Backup
	// Told are backups that cannot be used, and what the chosen one lacks.
	Told []string
}

// Prepare looks at what is left, and changes nothing.
func Prepare(ctx context.Context, f *fleet.Fleet, server replace.Server, o Options) (*Rising, error) {
	r := &Rising{fleet: f, server: server}
	if err := r.askHeadscale(ctx, o); err != nil {
		return nil, err
	}
	if o.WithoutVolumes {
		return r, nil
	}
	bucket, err := f.VolumesBucket()
	if err != nil {
		return nil, err
	}
	if bucket == nil {
		return nil, errors.New("the fleet has no backup of volumes (cluster: longhorn: backup:). If there is nothing to bring back, say --without-volumes")
	}
	store := systembackup.Open(bucket)
	all, err := systembackup.List(store, func(s string) { r.Told = append(r.Told, s) })
	if err != nil {
		return nil, err
	}
	if r.volumes, err = choose(all, o.SystemBackup, store.String()); err != nil {
		return nil, err
	}
	r.Told = append(r.Told, lacks(all, r.volumes)...)
	return r, nil
}

// askHeadscale finds the members that were the fleet's nodes. A Headscale that does
// not answer is one of the machines that are lost, where it is the fleet's own.
func (r *Rising) askHeadscale(ctx context.Context, o Options) error {
	tailnet, err := r.server.Nodes(ctx)
	var refused *headscale.APIError
	if err != nil && (r.fleet.Control() == "" || errors.As(err, &refused) || errors.Is(err, headscale.ErrUnauthorized)) {
		return err
	}
	if err != nil {
		r.headscale = err
		return nil
	}
	for _, name := range r.lost() {
		found, err := replace.Members(r.fleet, tailnet, name, o.EvenIfOnline)
		if err != nil {
			return fmt.Errorf("the cluster is not lost: %w. A single node is replaced by 'imagebuilder replace'", err)
		}
		r.members = append(r.members, found...)
	}
	return nil
}

// lost are the nodes of the cluster, the one that creates it first. The machine
// with Headscale has its own way back.
func (r *Rising) lost() []string {
	creates := r.Creator()
	all := []string{creates}
	for _, name := range r.fleet.Nodes.Names {
		if name != creates && name != r.fleet.Control() {
			all = append(all, name)
		}
	}
	return all
}

// Creator is the node that creates the cluster.
func (r *Rising) Creator() string { return r.fleet.Cluster.K3s.Init }

// Restore is what its card says besides, nil for nothing.
func (r *Rising) Restore() *node.Restore {
	if r.volumes == nil {
		return nil
	}
	return &node.Restore{SystemBackup: r.volumes.Name, Claims: r.volumes.Claims}
}

// Witness is the machine that lives, runs Headscale, and holds a vote of the lost
// cluster; "" without one.
func (r *Rising) Witness() string {
	name := r.fleet.Control()
	n, ok := r.fleet.Nodes.Get(name)
	if r.headscale != nil || !ok || !n.Role.In().Votes() {
		return ""
	}
	return name
}

// ForgetVote makes a witness a new one, of whatever cluster it finds: without the
// data, the certificates and the settings, which name the lost server. firstboot
// writes these again. They go first, as k3s does not start without: tailscaled
// upholds it, so systemd would start what was only stopped again, onto data that are
// being removed. containerd's state stays, by which the kubelet finds and ends the
// pods that the new cluster does not know. A witness that was made anew has none of
// that; and whatever fails, firstboot runs again: nobody else would start it.
const ForgetVote = "d=/var/lib/rancher/k3s; systemctl stop firstboot && rm -f /etc/rancher/k3s/config.yaml && systemctl stop k3s && rm -rf $d/server $d/agent/*.kubeconfig $d/agent/*.crt $d/agent/*.key; failed=$?; systemctl start firstboot && exit $failed"

// Ready says why no card can be made yet.
func (r *Rising) Ready() error {
	if r.headscale == nil {
		return nil
	}
	vps := r.fleet.Control()
	return fmt.Errorf("no answer of Headscale, which makes the other nodes' keys: %w\nIf %s is lost, too, make it first: imagebuilder flash --node %s; switch it on; imagebuilder headscale init", r.headscale, vps, vps)
}

// Forget takes the lost nodes out of the tailnet.
func (r *Rising) Forget(ctx context.Context) error {
	return replace.Forget(ctx, r.server, r.members)
}

// Missing are the nodes that have no card yet when those of names have.
func (r *Rising) Missing(names []string) []string {
	return slices.DeleteFunc(r.lost(), func(name string) bool { return slices.Contains(names, name) })
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006 15:04 UTC") }

func list(all []string) string { return strings.Join(all, ", ") }

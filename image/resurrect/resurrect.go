// Package resurrect rebuilds a cluster that has lost all its machines from what is left: the
// fleet's file, the secrets beside it, and buckets. The new cluster has the old one's names,
// authorities and tokens, so nothing changes at home, and Longhorn restores its volumes with
// their claims.
//
// etcd's snapshot is not used: it describes replicas on disks that are gone, and other state
// that no machine has any more. What the cluster ran is in Git, and its secrets are in the
// fleet. The package refuses to rebuild a cluster while one of its nodes is online.
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

// Options are what the owner knows better than the program.
type Options struct {
	// EvenIfOnline continues although Headscale calls a node online, as it does for some
	// minutes after a power cut.
	EvenIfOnline bool
	// WithoutVolumes starts the new cluster without restoring volumes.
	WithoutVolumes bool
	// SystemBackup is the name of the backup to restore, "" for the newest.
	SystemBackup string
}

// Rising is a prepared rebuild.
type Rising struct {
	fleet  *fleet.Fleet
	server replace.Server

	// headscale is why Headscale does not answer, nil if it does. If it does not, its
	// machine has to be rebuilt first.
	headscale error
	members   []headscale.Node // members of the tailnet that were the fleet's nodes
	volumes   *systembackup.Backup
	// Told lists backups that cannot be used, and what the chosen one lacks.
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

// askHeadscale finds the members that were the fleet's nodes. If the fleet's own Headscale
// does not answer, its machine counts as lost, too.
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
		if lives := (*replace.Alive)(nil); errors.As(err, &lives) {
			return fmt.Errorf("the cluster is not lost: %w. A single node is replaced by 'imagebuilder replace'", err)
		}
		if err != nil {
			return err
		}
		r.members = append(r.members, found...)
	}
	return nil
}

// lost are the nodes of the cluster, the one that creates it first. The machine with
// Headscale is not among them, as it is rebuilt in another way.
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

// Restore is what the creator's card has to restore, nil for nothing.
func (r *Rising) Restore() *node.Restore {
	if r.volumes == nil {
		return nil
	}
	return &node.Restore{SystemBackup: r.volumes.Name, Claims: r.volumes.Claims}
}

// Witness is the machine that still runs Headscale and has a vote in the lost cluster's
// etcd; "" if there is none.
func (r *Rising) Witness() string {
	name := r.fleet.Control()
	n, ok := r.fleet.Nodes.Get(name)
	if r.headscale != nil || !ok || !n.Role.In().Votes() {
		return ""
	}
	return name
}

// ForgetVote makes a witness ready to join the new cluster. It removes k3s' data,
// certificates, and settings, which name the lost server; firstboot writes the settings
// again. They are removed before k3s is stopped: tailscaled upholds k3s, so systemd would
// start it again on data that are being removed, but without settings it cannot start.
// containerd's state stays, as the kubelet needs it to find and end the pods that the new
// cluster does not know. A witness that was rebuilt has none of these files. firstboot is
// started again whatever fails, as nothing else would start it.
const ForgetVote = "d=/var/lib/rancher/k3s; systemctl stop firstboot && rm -f /etc/rancher/k3s/config.yaml && systemctl stop k3s && rm -rf $d/server $d/agent/*.kubeconfig $d/agent/*.crt $d/agent/*.key; failed=$?; systemctl start firstboot && exit $failed"

// Ready says why no card can be made yet, nil if one can.
func (r *Rising) Ready() error {
	if r.headscale == nil {
		return nil
	}
	vps := r.fleet.Control()
	return fmt.Errorf("no answer of Headscale, which makes the other nodes' keys: %w\nIf %s is lost, too, make it first: imagebuilder flash --node %s; switch it on; imagebuilder headscale init", r.headscale, vps, vps)
}

// Forget removes the lost nodes from the tailnet.
func (r *Rising) Forget(ctx context.Context) error {
	return replace.Forget(ctx, r.server, r.members)
}

// Missing are the lost nodes that have no card yet, if those in names have one.
func (r *Rising) Missing(names []string) []string {
	return slices.DeleteFunc(r.lost(), func(name string) bool { return slices.Contains(names, name) })
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006 15:04 UTC") }

func list(all []string) string { return strings.Join(all, ", ") }

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
)

const adminConf = "/etc/rancher/k3s/k3s.yaml"

// Ages from which on something counts as late: etcd's snapshot (twice a day) and
// Headscale's copy (nightly), Longhorn's backups (nightly), a lease (every ten seconds).
// At least one must have failed by then. A clock is fast if it is fastClock ahead.
const (
	lateSnapshot = 26 * time.Hour
	lateBackup   = 50 * time.Hour
	lateJob      = 50 * time.Hour
	lateLease    = time.Minute
	fastClock    = 2 * time.Second
)

// cluster runs the checks that need a server's rights.
func (p *patient) cluster(ctx context.Context) {
	if !p.exists(adminConf) {
		return
	}
	const group = "Cluster"
	nodes, err := list[kubeNode](ctx, p, "/api/v1/nodes")
	if err != nil {
		p.add(group, "answers", Warning, err.Error())
		return
	}
	p.zones(nodes)
	p.clocks(ctx, nodes)
	p.names(ctx)
	p.resolvers(ctx, nodes)
	p.abandoned(ctx, nodes)
	p.images(ctx)
	p.etcd(ctx)
	p.snapshots(ctx)
	p.jobs(ctx)
	p.charts(ctx)
	p.storage(ctx)
}

// list gets a list from the API and returns its items.
func list[T any](ctx context.Context, p *patient, path string) ([]T, error) {
	out, err := p.Net.API(ctx, adminConf, path)
	if err != nil {
		return nil, err
	}
	var all struct{ Items []T }
	return all.Items, json.Unmarshal(out, &all)
}

// lookFor is list for a single check. If the API cannot be asked, the check's verdict is
// Unknown; what the cluster does not have needs no check.
func lookFor[T any](ctx context.Context, p *patient, group, check, path string) (all []T, ok bool) {
	all, err := list[T](ctx, p, path)
	if err != nil && !errors.Is(err, firstboot.ErrNoObject) {
		p.add(group, check, Unknown, err.Error())
	}
	return all, err == nil
}

type meta struct {
	Name              string
	Labels            map[string]string
	CreationTimestamp time.Time
}

type kubeNode struct {
	Metadata meta
	Spec     struct {
		Taints []taint
	}
	Status status
}

type taint struct{ Key, Effect string }

func (n kubeNode) site() string { return n.Metadata.Labels["topology.kubernetes.io/zone"] }

// status is the status of a node or a pod.
type status struct {
	Conditions []struct{ Type, Status, Message string }
}

func (s status) ready() bool {
	for _, c := range s.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// zones checks that each node has one: Longhorn takes all nodes without a zone for the
// same place, and puts no second replica anywhere.
func (p *patient) zones(nodes []kubeNode) {
	var without, away []string
	for _, n := range nodes {
		if n.site() == "" {
			without = append(without, n.Metadata.Name)
		}
		if !n.Status.ready() {
			away = append(away, n.Metadata.Name)
		}
	}
	p.expect(len(away) == 0, Warning, "Cluster", "nodes are Ready", "not Ready: "+strings.Join(away, ", "))
	p.expect(len(without) == 0, Warning, "Cluster", "nodes have their site", "without the label topology.kubernetes.io/zone: "+strings.Join(without, ", "))
}

// clocks compares this clock with those of the nodes: every ten seconds each kubelet
// writes the time, by its own clock, into its Lease (kubernetes.io, "Node heartbeats").
func (p *patient) clocks(ctx context.Context, nodes []kubeNode) {
	const group, check = "Cluster", "clocks agree"
	type lease struct {
		Metadata meta
		Spec     struct{ RenewTime time.Time }
	}
	all, ok := lookFor[lease](ctx, p, group, check, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")
	if !ok {
		return
	}
	ready := map[string]bool{}
	for _, n := range nodes {
		ready[n.Metadata.Name] = n.Status.ready()
	}
	var off []string
	for _, l := range all {
		switch ahead := l.Spec.RenewTime.Sub(p.Clock.Now()); {
		case !ready[l.Metadata.Name]:
		case ahead > fastClock:
			off = append(off, fmt.Sprintf("%s is %v ahead of this one", l.Metadata.Name, ahead.Round(time.Second)))
		case ahead < -lateLease:
			off = append(off, fmt.Sprintf("%s is %v behind this one", l.Metadata.Name, (-ahead).Round(time.Second)))
		}
	}
	p.expect(len(off) == 0, Warning, group, check, strings.Join(off, ", "))
}

// names checks what longhornctl warns of, too: a single replica of CoreDNS.
func (p *patient) names(ctx context.Context) {
	const group, check = "Cluster", "CoreDNS has replicas"
	type deployment struct{ Spec struct{ Replicas int } }
	all, ok := lookFor[deployment](ctx, p, group, check, "/apis/apps/v1/namespaces/kube-system/deployments?labelSelector=k8s-app%3Dkube-dns")
	if ok { // any other number of deployments means another name server
		p.expect(len(all) != 1 || all[0].Spec.Replicas > 1, Warning, group, check, "one alone: no pod finds a name while its node is gone")
	}
}

// images looks for pods that wait for an image: its registry is away, and no archive in
// the node's image has it.
func (p *patient) images(ctx context.Context) {
	const group, check = "Cluster", "container images are there"
	type pod struct {
		Metadata struct{ Namespace, Name string }
		Status   struct {
			ContainerStatuses, InitContainerStatuses []struct {
				Image string
				State struct{ Waiting struct{ Reason string } }
			}
		}
	}
	all, ok := lookFor[pod](ctx, p, group, check, "/api/v1/pods?fieldSelector=status.phase%3DPending&limit=100")
	if !ok {
		return
	}
	missing := map[string]bool{}
	for _, pod := range all {
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"}, c.State.Waiting.Reason) {
				missing[c.Image] = true
			}
		}
	}
	p.expect(len(missing) == 0, Warning, group, check, "pods wait for "+strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
}

// snapshots checks etcd's newest snapshot, in the bucket if there is one (docs.k3s.io,
// "etcd-snapshot", ETCDSnapshotFile).
func (p *patient) snapshots(ctx context.Context) {
	const group, check = "Backups", "etcd's newest snapshot"
	type snapshot struct {
		Spec   struct{ S3 *struct{} }
		Status struct {
			CreationTime time.Time
			ReadyToUse   bool
			Error        struct{ Message string }
		}
	}
	all, ok := lookFor[snapshot](ctx, p, group, check, "/apis/k3s.cattle.io/v1/etcdsnapshotfiles")
	if !ok {
		return
	}
	var config map[string]any
	_ = yaml.Unmarshal([]byte(p.text("/etc/rancher/k3s/config.yaml")), &config) // written by firstboot; if it is not YAML, k3s says so
	remote := config["etcd-s3"] == true
	var newest time.Time
	fault := ""
	for _, s := range all {
		if (s.Spec.S3 != nil) != remote {
			continue
		}
		if s.Status.ReadyToUse && s.Status.CreationTime.After(newest) {
			newest = s.Status.CreationTime
		}
		if s.Status.Error.Message != "" {
			fault = ": " + s.Status.Error.Message
		}
	}
	where := map[bool]string{true: "in the bucket", false: "on the servers' disks"}[remote]
	born := p.born(ctx, "kube-system")
	if fault != "" { // one was tried, so it is not too early to complain
		born = time.Time{}
	}
	p.age(group, check, newest, born, lateSnapshot, where+fault)
}

// born returns when a namespace was made, and with it what is in it; kube-system is as
// old as the cluster. What is done nightly is not late before the first night. If nobody
// tells, it returns the zero time: the namespace then counts as old.
func (p *patient) born(ctx context.Context, name string) time.Time {
	type namespace struct{ Metadata meta }
	all, err := list[namespace](ctx, p, "/api/v1/namespaces?fieldSelector=metadata.name%3D"+name)
	if err != nil || len(all) != 1 {
		return time.Time{}
	}
	return all[0].Metadata.CreationTimestamp
}

// age judges when something was last done that has been possible since first.
func (p *patient) age(group, check string, last, first time.Time, late time.Duration, where string) {
	since := p.Clock.Now().Sub(last)
	switch {
	case p.Clock.Now().Sub(first) <= late:
		p.add(group, check, OK, "")
	case last.IsZero():
		p.add(group, check, Warning, "there is none "+where)
	case since > late:
		p.add(group, check, Warning, fmt.Sprintf("is %d hours old, %s", int(since.Hours()), where))
	default:
		p.add(group, check, OK, "")
	}
}

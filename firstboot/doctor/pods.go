package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

type kubePod struct {
	Metadata struct {
		Namespace, Name   string
		DeletionTimestamp *time.Time
		OwnerReferences   []struct{ Kind string }
	}
	Spec   struct{ NodeName string }
	Status status
}

// resolvers checks that CoreDNS is at two sites: if it is at one only, all names are lost
// with that site. k3s spreads its pods over nodes and knows no sites. So both may be at
// one site, as always happens while the other site is away, and nothing moves them later.
func (p *patient) resolvers(ctx context.Context, nodes []kubeNode) {
	const group, check = "Cluster", "CoreDNS is at two sites"
	all, ok := lookFor[kubePod](ctx, p, group, check, "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns")
	if !ok {
		return
	}
	all = slices.DeleteFunc(all, func(pod kubePod) bool { return !pod.Status.ready() })
	if len(all) < 2 { // another check reports that, or they are still starting
		return
	}
	at := map[string]string{} // site by node
	for _, n := range nodes {
		at[n.Metadata.Name] = n.site()
	}
	site, last := at[all[0].Spec.NodeName], all[len(all)-1].Metadata.Name
	together := !slices.ContainsFunc(all, func(pod kubePod) bool { return at[pod.Spec.NodeName] != site })
	elsewhere := slices.ContainsFunc(nodes, func(n kubeNode) bool { return n.site() != site && n.Status.ready() && n.takesAddons() })
	p.expect(!together || !elsewhere, Warning, group, check,
		fmt.Sprintf("both are at %s, and no pod finds a name while that is gone: %s", site, away(nodes, site, last)))
}

// away returns the commands that make a pod come back at another site than this one. A
// node that somebody has cordoned stays cordoned.
func away(nodes []kubeNode, site, pod string) string {
	var open []string
	for _, n := range nodes {
		if n.site() == site && !n.cordoned() {
			open = append(open, n.Metadata.Name)
		}
	}
	move, there := "kubectl -n kube-system delete pod "+pod, strings.Join(open, " ")
	if there == "" {
		return move
	}
	return fmt.Sprintf("kubectl cordon %s; %s; kubectl uncordon %[1]s", there, move)
}

// cordoned reports whether "kubectl cordon" was used on a node (kubernetes.io, "Taints
// and Tolerations").
func (n kubeNode) cordoned() bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t taint) bool { return t.Key == "node.kubernetes.io/unschedulable" })
}

// takesAddons reports whether k3s' own pods may run on a node: they tolerate the taints
// that keep other work off servers.
func (n kubeNode) takesAddons() bool {
	borne := []string{"CriticalAddonsOnly", "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}
	for _, t := range n.Spec.Taints {
		if t.Effect != "PreferNoSchedule" && !slices.Contains(borne, t.Key) {
			return false
		}
	}
	return true
}

// abandoned looks for pods of a lost node that nothing replaces. Such a pod stays
// "Terminating" until the node comes back. A Deployment has another pod by then; but a
// StatefulSet, such as Argo CD's controller, waits, and a Job's pod keeps its volume from
// others (kubernetes.io, "Force Delete StatefulSet Pods"). Longhorn deletes only pods of
// a StatefulSet or Deployment that have a volume.
func (p *patient) abandoned(ctx context.Context, nodes []kubeNode) {
	const group, check = "Cluster", "no pod waits for a lost node"
	var names, commands []string
	for _, n := range nodes {
		if n.Status.ready() {
			continue
		}
		all, ok := lookFor[kubePod](ctx, p, group, check, "/api/v1/pods?limit=100&fieldSelector=spec.nodeName%3D"+n.Metadata.Name)
		if !ok {
			return
		}
		for _, pod := range all {
			if m := pod.Metadata; pod.stuck() {
				names = append(names, fmt.Sprintf("%s/%s of %s", m.Namespace, m.Name, n.Metadata.Name))
				commands = append(commands, fmt.Sprintf("kubectl -n %s delete pod %s --force", m.Namespace, m.Name))
			}
		}
	}
	p.expect(len(names) == 0, Warning, group, check, fmt.Sprintf("nothing takes the place of %s. Where that is off, and not only out of reach: %s",
		strings.Join(names, ", "), strings.Join(commands, "; ")))
}

func (pod kubePod) stuck() bool {
	for _, owner := range pod.Metadata.OwnerReferences {
		if owner.Kind == "StatefulSet" || owner.Kind == "Job" {
			return pod.Metadata.DeletionTimestamp != nil
		}
	}
	return false
}

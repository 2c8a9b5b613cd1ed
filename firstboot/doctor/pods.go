package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

type kubePod struct {
	Metadata meta
	Spec     struct{ NodeName string }
	Status   status
}

// resolvers: with CoreDNS at one site alone all names go with it. k3s spreads its pods
// over nodes and knows no sites: so two may be at one, as always while the other is not
// there, and nothing moves them later.
func (p *patient) resolvers(ctx context.Context, nodes []kubeNode) {
	const group, check = "Cluster", "CoreDNS is at two sites"
	all, ok := lookFor[kubePod](ctx, p, group, check, "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns")
	if !ok {
		return
	}
	all = slices.DeleteFunc(all, func(pod kubePod) bool { return !pod.Status.ready() })
	if len(all) < 2 { // of which is told elsewhere, or they start
		return
	}
	at := map[string]string{} // nodes' sites
	for _, n := range nodes {
		at[n.Metadata.Name] = n.site()
	}
	site, last := at[all[0].Spec.NodeName], all[len(all)-1].Metadata.Name
	together := !slices.ContainsFunc(all, func(pod kubePod) bool { return at[pod.Spec.NodeName] != site })
	elsewhere := slices.ContainsFunc(nodes, func(n kubeNode) bool { return n.site() != site && n.Status.ready() && n.takesAddons() })
	var beside []string
	for _, n := range nodes {
		if n.site() == site {
			beside = append(beside, n.Metadata.Name)
		}
	}
	there := strings.Join(beside, " ")
	p.expect(!together || !elsewhere, Warning, group, check,
		fmt.Sprintf("both are at %s, and no pod finds a name while that is gone: kubectl cordon %s; kubectl -n kube-system delete pod %s; kubectl uncordon %s", site, there, last, there))
}

// takesAddons says whether pods of k3s' own may be put onto a node: they bear what keeps
// other work from servers.
func (n kubeNode) takesAddons() bool {
	borne := []string{"CriticalAddonsOnly", "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}
	for _, t := range n.Spec.Taints {
		if t.Effect != "PreferNoSchedule" && !slices.Contains(borne, t.Key) {
			return false
		}
	}
	return true
}

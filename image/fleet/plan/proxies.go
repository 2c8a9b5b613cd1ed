package plan

import (
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// behindProxy warns of agents whose network has a proxy: the node and its k3s use it, pods do
// not. What runs in pods is Longhorn, which writes backups, and Argo CD, which reads Git. Both
// take a proxy from their Secret (longhorn.io, "Setting a Backup Target"; argo-cd.readthedocs.io,
// "Private Repositories"), of which there is one for all sites.
func behindProxy(f *fleet.Fleet, _ *Plan) []Warning {
	var reach []string
	if l := f.Cluster.Longhorn; l != nil && l.Backup != nil {
		reach = append(reach, "the bucket of volumes")
	}
	if g := f.Cluster.GitOps; g != nil {
		reach = append(reach, "the repository of cluster: gitops:")
	}
	var agents []string
	for _, name := range f.Nodes.Names {
		n, _ := f.Nodes.Get(name)
		if n.Role.In() == node.Agent && !(n.Network.Proxy.Empty() && f.Sites[n.Site].Network.Proxy.Empty()) {
			agents = append(agents, name)
		}
	}
	if len(reach) == 0 || len(agents) == 0 {
		return nil
	}
	return one("proxy", fmt.Sprintf("Pods do not use the proxy of %s: where nothing else leads out of that network, %s cannot be reached from there.", strings.Join(agents, ", "), strings.Join(reach, " and ")),
		"Let that network reach these hosts directly, or give both the proxy: .github/docs/cluster.md, \"Behind a proxy\".")
}

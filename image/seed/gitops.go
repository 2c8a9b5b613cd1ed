package seed

import (
	_ "embed"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/objects"
)

const (
	argocdSpace = "argocd"
	inCluster   = "https://kubernetes.default.svc"
	rootFile    = "argocd-root"
)

//go:embed argocd.yaml
var argocdValues []byte

// ArgoCD is what its pods ask for by these values, one of each, together.
var ArgoCD = objects.Demand{Name: "Argo CD", Pods: 1, CPU: 185, Memory: 704 << 20}

// GitOps is the Git repository that the cluster follows.
type GitOps struct {
	Repo, Path, Revision string
	// DeployKey is an ssh key that may read it; empty for one that all may read.
	DeployKey secret.String
	// KnownHosts are lines of known_hosts(5) with the host keys of the server, besides
	// those of the chart.
	KnownHosts string
}

func (b *builder) gitops(g *GitOps) {
	values := b.defaults("argocd.yaml", argocdValues)
	if b.err != nil {
		return
	}
	if g.KnownHosts != "" {
		under(values, "configs")["ssh"] = object{"extraHosts": g.KnownHosts} // knownHosts is the chart's own list
	}
	// What is uninstalled has no data, and leaves the kinds (crds: keep) and their objects.
	b.file("argocd", namespace(argocdSpace), b.chart("argocd", argocdChart, argocdSpace, "reinstall", values))
	b.file(rootFile, project(g), application(g)) // of kinds that the chart brings
	if !g.DeployKey.Empty() {
		b.Secrets = append(b.Secrets, repository(g))
	}
}

// repository is a secret that Argo CD finds by its label.
func repository(g *GitOps) node.Secret {
	return node.Secret{
		Namespace: argocdSpace, Name: "fleet-repo", Labels: map[string]string{"argocd.argoproj.io/secret-type": "repository"},
		Data: map[string]secret.String{"type": "git", "url": secret.String(g.Repo), "sshPrivateKey": g.DeployKey + "\n"},
	}
}

// project lets the fleet's applications do in any namespace what the repository
// says, and make namespaces. Whatever else belongs to the whole cluster is its
// owner's to allow.
func project(g *GitOps) object {
	return object{"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": object{"name": "fleet", "namespace": argocdSpace}, "spec": object{
		"sourceRepos":              []string{g.Repo},
		"destinations":             []object{{"server": inCluster, "namespace": "*"}},
		"clusterResourceWhitelist": []object{{"group": "", "kind": "Namespace"}},
	}}
}

// application is the root: what lies below the path, other Applications among it.
//
// What fails is tried again for as long as it does, each time with the newest commit:
// else a bad one is tried for an hour and the one that mends it waits (argo-cd#11494),
// and what failed because a site was away stays so until the next commit.
func application(g *GitOps) object {
	return object{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": object{"name": "root", "namespace": argocdSpace}, "spec": object{
		"project":     "fleet",
		"source":      object{"repoURL": g.Repo, "path": g.Path, "targetRevision": g.Revision, "directory": object{"recurse": true}},
		"destination": object{"server": inCluster, "namespace": argocdSpace},
		"syncPolicy": object{
			"automated":   object{"prune": true, "selfHeal": true},
			"syncOptions": []string{"CreateNamespace=true", "ServerSideApply=true"},
			"retry":       object{"limit": -1, "refresh": true, "backoff": object{"duration": "30s", "factor": 2, "maxDuration": "10m"}},
		},
	}}
}

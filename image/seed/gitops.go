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

// ArgoCD is what Argo CD's pods request with these values: one pod of each kind, added up.
var ArgoCD = objects.Demand{Name: "Argo CD", Pods: 1, CPU: 185, Memory: 704 << 20}

// GitOps is the Git repository that the cluster follows.
type GitOps struct {
	Repo, Path, Revision string
	// DeployKey is an ssh key that may read the repository; empty for a public one.
	DeployKey secret.String
	// KnownHosts are lines of known_hosts(5) with the server's host keys, in addition to the
	// chart's.
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
	// Reinstalling is safe: Argo CD's release has no data, and its custom resource
	// definitions (crds: keep) stay with their objects.
	b.file("argocd", namespace(argocdSpace), b.chart("argocd", argocdChart, argocdSpace, "reinstall", values))
	b.file(rootFile, project(g), application(g)) // uses custom resources that the chart defines
	if !g.DeployKey.Empty() {
		b.Secrets = append(b.Secrets, repository(g))
	}
}

// repository is a Secret that Argo CD finds by its label.
func repository(g *GitOps) node.Secret {
	return node.Secret{
		Namespace: argocdSpace, Name: "fleet-repo", Labels: map[string]string{"argocd.argoproj.io/secret-type": "repository"},
		Data: map[string]secret.String{"type": "git", "url": secret.String(g.Repo), "sshPrivateKey": g.DeployKey + "\n"},
	}
}

// project lets the fleet's applications manage what the repository says in any namespace,
// and create namespaces. Any other cluster-wide resource has to be allowed by the owner.
func project(g *GitOps) object {
	return object{"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": object{"name": "fleet", "namespace": argocdSpace}, "spec": object{
		"sourceRepos":              []string{g.Repo},
		"destinations":             []object{{"server": inCluster, "namespace": "*"}},
		"clusterResourceWhitelist": []object{{"group": "", "kind": "Namespace"}},
	}}
}

// application is the root Application: everything below the path, including other
// Applications.
//
// A failed sync is retried without end, each time with the newest commit. Otherwise a bad
// commit would be retried for an hour while the commit that fixes it waits (argo-cd#11494),
// and a sync that failed because a site was away would stay failed until the next commit.
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

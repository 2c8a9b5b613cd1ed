package fleet

import (
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/seed"
)

// seed is the initial content of the cluster, for the server that creates it.
func (f *Fleet) seed(read reader) (node.Seed, error) {
	in, err := f.payload(read)
	if err != nil {
		return node.Seed{}, err
	}
	return seed.New(in)
}

func (f *Fleet) payload(read reader) (in seed.Input, err error) {
	in.Traefik, in.Twice = f.runs(seed.Traefik), f.Twice()
	if in.EtcdBackup, err = f.etcdBackup(read); err != nil {
		return in, err
	}
	if l := f.Cluster.Longhorn; l != nil {
		in.Longhorn = &seed.Longhorn{Replicas: l.Replicas, Sites: len(f.storage())}
		if in.Longhorn.Backup, err = l.Backup.read(read, "cluster.longhorn.backup"); err != nil {
			return in, err
		}
	}
	if g := f.Cluster.GitOps; g != nil {
		in.GitOps = &seed.GitOps{Repo: g.Repo, Path: g.Path, Revision: g.Revision}
		if in.GitOps.DeployKey, err = optional(g.DeployKey, read, "cluster.gitops.deployKey"); err != nil {
			return in, err
		}
		hosts, err := optional(g.KnownHosts, read, "cluster.gitops.knownHosts")
		in.GitOps.KnownHosts = hosts.Reveal()
		if err != nil {
			return in, err
		}
	}
	in.Secrets, err = f.secrets(read)
	return in, err
}

// ComponentsFor lists the components that images of a board carry for this fleet, in the
// form of --component: the payload's charts, on boards of servers.
func (f *Fleet) ComponentsFor(board string, controls bool) (all []string) {
	serves := func(n Node) bool { return n.Board == board && n.Role.In() == node.Server }
	if controls || !slices.ContainsFunc(slices.Collect(maps.Values(f.Nodes.by)), serves) {
		return nil
	}
	in, _ := f.payload(func(Ref) (secret.String, error) { return "", nil }) // no chart depends on a secret
	for _, c := range seed.Charts(in) {
		all = append(all, c.Component+"="+c.Version)
	}
	return all
}

// Twice lists the add-ons of which k3s runs one pod, but a fleet with several sites runs
// two, at different sites. Otherwise the loss of one site could stop all name resolution
// until Kubernetes replaces its pods, which takes minutes.
func (f *Fleet) Twice() (addons []string) {
	sites := map[string]bool{}
	for _, n := range f.Nodes.by {
		if role := n.Role.In(); role == node.Server || role == node.Agent {
			sites[n.Site] = true
		}
	}
	for _, addon := range seed.Doubled {
		if len(sites) > 1 && f.runs(addon) {
			addons = append(addons, addon)
		}
	}
	return addons
}

// runs says whether k3s deploys an add-on.
func (f *Fleet) runs(addon string) bool {
	off := strings.Split(strings.Join(node.Settings(f.Cluster.K3s.Config).List("disable"), ","), ",") // a list, or one text (docs.k3s.io)
	return !slices.Contains(off, addon)
}

// storage counts the agents, which hold the volumes, per site.
func (f *Fleet) storage() map[string]int {
	sites := map[string]int{}
	for _, n := range f.Nodes.by {
		if n.Role.In() == node.Agent {
			sites[n.Site]++
		}
	}
	return sites
}

// places is how many replicas of a volume can be placed: no two share a node, or a site if
// there are several.
func places(sites map[string]int) int {
	if len(sites) > 1 {
		return len(sites)
	}
	for _, agents := range sites {
		return agents
	}
	return 0
}

// diskLabel makes Longhorn use the node's /var/lib/longhorn. On a node with a disk of its
// own for volumes, firstboot sets the label once that disk is mounted.
const diskLabel = "node.longhorn.io/create-default-disk"

func (f *Fleet) labels(n Node) map[string]string {
	labels := maps.Clone(n.Labels)
	if f.Cluster.Longhorn == nil || n.Role.In() != node.Agent || n.Longhorn.Disk != (node.Disk{}) || labels[diskLabel] != "" {
		return labels
	}
	if labels == nil {
		labels = map[string]string{}
	}
	labels[diskLabel] = "true"
	return labels
}

func (c *checker) longhorn() {
	l := c.fleet.Cluster.Longhorn
	if l == nil {
		return
	}
	at := []string{"cluster", "longhorn"}
	switch room := places(c.fleet.storage()); {
	case room == 0:
		c.Refuse(at, "wants nodes with role agent: they hold the volumes")
	case l.Replicas < 1:
		c.Refuse(append(at, "replicas"), "want 1 or more")
	case l.Replicas > room:
		c.Refuse(append(at, "replicas"), "is more than the %d places for them, so no volume would ever be whole: no two share a site with agents, or, where there is one such site, an agent", room)
	}
	c.bucket(l.Backup, "cluster", "longhorn", "backup")
}

// publicHosts are the servers whose host keys Argo CD's chart contains (10.1.1,
// configs.ssh.knownHosts), in the notation of known_hosts(5).
var publicHosts = []string{"github.com", "[ssh.github.com]:443", "gitlab.com", "bitbucket.org", "ssh.dev.azure.com", "vs-ssh.visualstudio.com"}

// sshHost is the server of a repository in the notation of known_hosts(5), "" if the
// repository is not accessed over ssh.
func sshHost(repo string) string {
	if scp.MatchString(repo) {
		_, host, _ := strings.Cut(repo, "@")
		host, _, _ = strings.Cut(host, ":")
		return host
	}
	u, err := url.Parse(repo)
	switch {
	case err != nil || u.Scheme != "ssh" || u.Host == "":
		return ""
	case u.Port() == "" || u.Port() == "22":
		return u.Hostname()
	}
	return "[" + u.Hostname() + "]:" + u.Port()
}

// scp matches the scp-like form of a repository's address: git-clone(1).
var scp = regexp.MustCompile(`^[\w.-]+@[\w.-]+:[^/]\S*$`)

func (c *checker) gitops() {
	g := c.fleet.Cluster.GitOps
	if g == nil {
		return
	}
	at := []string{"cluster", "gitops"}
	u, err := url.Parse(g.Repo)
	host := sshHost(g.Repo)
	ssh := host != ""
	switch {
	case !ssh && (err != nil || u.Scheme != "https" || u.Host == ""):
		c.Refuse(append(at, "repo"), "want an address like ssh://git@git.example.net/home/cluster.git or https://…")
	case err == nil && u.User != nil && hasPassword(u):
		c.Refuse(append(at, "repo"), "has a password in it, and Argo CD shows it: use a deployKey")
	case ssh && g.DeployKey.Empty():
		c.Refuse(append(at, "deployKey"), "is missing: where the ssh key is that may read the repository")
	case ssh && g.KnownHosts.Empty() && !slices.Contains(publicHosts, host):
		c.Refuse(append(at, "knownHosts"), "is missing: where the host keys of %s are, as ssh-keyscan prints them, and compared with the server's; Argo CD knows those of GitHub, GitLab, Bitbucket and Azure alone", host)
	case !ssh && !g.DeployKey.Empty():
		c.Refuse(append(at, "deployKey"), "is for a repository by ssh; this one is by https")
	}
	if path.IsAbs(g.Path) || g.Path != path.Clean(g.Path) || strings.HasPrefix(g.Path, "..") {
		c.Refuse(append(at, "path"), "want a directory of the repository, like apps")
	}
	if strings.ContainsAny(g.Revision, " \t\n") {
		c.Refuse(append(at, "revision"), "want a branch, a tag or a commit")
	}
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}

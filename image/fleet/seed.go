package fleet

import (
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/seed"
)

// seed is what the cluster begins with, for the server that creates it.
func (f *Fleet) seed(read reader) (node.Seed, error) {
	var in seed.Input
	if l := f.Cluster.Longhorn; l != nil {
		in.Longhorn = &seed.Longhorn{Replicas: l.Replicas, Sites: len(f.storageSites())}
		if s := l.Backup; s != nil {
			key, err := optional(s.SecretKey, read, "cluster.longhorn.backup.secretKey")
			if err != nil {
				return node.Seed{}, err
			}
			in.Longhorn.Backup = &node.S3{Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, Prefix: s.Prefix, AccessKey: s.AccessKey, SecretKey: key}
		}
	}
	if g := f.Cluster.GitOps; g != nil {
		key, err := optional(g.DeployKey, read, "cluster.gitops.deployKey")
		if err != nil {
			return node.Seed{}, err
		}
		hosts, err := optional(g.KnownHosts, read, "cluster.gitops.knownHosts")
		if err != nil {
			return node.Seed{}, err
		}
		in.GitOps = &seed.GitOps{Repo: g.Repo, Path: g.Path, Revision: g.Revision, DeployKey: key, KnownHosts: hosts.Reveal()}
	}
	return seed.New(in)
}

// ComponentsFor lists what images of a board carry for this fleet, as --component
// takes it: the charts of the payload, on boards that servers have.
func (f *Fleet) ComponentsFor(board string, controls bool) (all []string) {
	serves := func(n Node) bool { return n.Board == board && n.Role.In() == node.Server }
	if controls || !slices.ContainsFunc(slices.Collect(maps.Values(f.Nodes.by)), serves) {
		return nil
	}
	for _, c := range seed.Charts(seed.Input{Longhorn: only[seed.Longhorn](f.Cluster.Longhorn != nil), GitOps: only[seed.GitOps](f.Cluster.GitOps != nil)}) {
		all = append(all, c.Component+"="+c.Version)
	}
	return all
}

// only is a zero T where it is wanted.
func only[T any](wanted bool) *T {
	if !wanted {
		return nil
	}
	return new(T)
}

// storageSites are the sites with agents, which hold the volumes, and how many.
func (f *Fleet) storageSites() map[string]int {
	sites := map[string]int{}
	for _, n := range f.Nodes.by {
		if n.Role.In() == node.Agent {
			sites[n.Site]++
		}
	}
	return sites
}

// defaultReplicas is two wherever there are two places for them.
func (f *Fleet) defaultReplicas() int {
	sites := f.storageSites()
	agents := 0
	for _, n := range sites {
		agents += n
	}
	return max(1, min(2, max(len(sites), agents)))
}

// diskLabel makes Longhorn use the node's /var/lib/longhorn. With a disk of its
// own for volumes firstboot says so itself, when that is mounted.
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
	sites := c.fleet.storageSites()
	switch {
	case len(sites) == 0:
		c.Refuse(at, "wants nodes with role agent: they hold the volumes")
	case l.Replicas < 1 || l.Replicas > 10:
		c.Refuse(append(at, "replicas"), "want 1 to 10")
	case len(sites) > 1 && l.Replicas > len(sites):
		c.Refuse(append(at, "replicas"), "is more than the %d sites that have agents: no two replicas of a volume share a site, so it would never be whole", len(sites))
	}
	if s := l.Backup; s != nil {
		c.s3(append(at, "backup"), s)
	}
}

// s3 judges what opens a bucket.
func (c *checker) s3(at []string, s *S3) {
	for name, value := range map[string]string{"region": s.Region, "bucket": s.Bucket, "accessKey": s.AccessKey} {
		if value == "" || strings.ContainsAny(value, "@/ ") {
			c.Refuse(append(at[:len(at):len(at)], name), "is missing, or has a character that none has")
		}
	}
	if u, err := url.Parse(s.Endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		c.Refuse(append(at[:len(at):len(at)], "endpoint"), "want an address like https://s3.eu-central-1.amazonaws.com")
	}
	if s.SecretKey.Empty() {
		c.Refuse(append(at[:len(at):len(at)], "secretKey"), "is missing: where the bucket's secret key is")
	}
}

// scp is the form of an address that ssh alone has: git-clone(1).
var scp = regexp.MustCompile(`^[\w.-]+@[\w.-]+:[^/]\S*$`)

func (c *checker) gitops() {
	g := c.fleet.Cluster.GitOps
	if g == nil {
		return
	}
	at := []string{"cluster", "gitops"}
	u, err := url.Parse(g.Repo)
	ssh := scp.MatchString(g.Repo) || err == nil && u.Scheme == "ssh" && u.Host != ""
	switch {
	case !ssh && (err != nil || u.Scheme != "https" || u.Host == ""):
		c.Refuse(append(at, "repo"), "want an address like ssh://git@git.example.net/home/cluster.git or https://…")
	case err == nil && u.User != nil && hasPassword(u):
		c.Refuse(append(at, "repo"), "has a password in it, and Argo CD shows it: use a deployKey")
	case ssh && g.DeployKey.Empty():
		c.Refuse(append(at, "deployKey"), "is missing: where the ssh key is that may read the repository")
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

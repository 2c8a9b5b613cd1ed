package fleet

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/seed"
)

// k3s gives each role only the tokens it needs: the servers' token gives access to
// everything.
func (f *Fleet) k3s(name string, n Node, read reader) (k node.K3s, err error) {
	k = node.K3s{
		Init: name == f.Cluster.K3s.Init, Servers: f.Servers(), ServerTags: []string{RoleTag(node.Server)},
		Labels: f.labels(n), Taints: f.Taints(n), Config: f.flags(n),
	}
	if k.AgentToken, err = optional(f.Cluster.K3s.AgentToken, read, "cluster.k3s.agentToken"); err != nil || n.Role.In() == node.Agent {
		return k, err
	}
	if k.Token, err = optional(f.Cluster.K3s.Token, read, "cluster.k3s.token"); err != nil || !k.Init {
		return k, err
	}
	files, err := f.identity(read)
	if err != nil {
		return k, err
	}
	for name, text := range files {
		if k.CA == nil {
			k.CA = map[string]secret.String{}
		}
		k.CA[name] = secret.String(text)
	}
	k.Seed, err = f.seed(read)
	return k, err
}

// flags are the node's k3s flags over the cluster's. The cluster's are server flags, which
// an agent would refuse.
func (f *Fleet) flags(n Node) node.Settings {
	role := n.Role.In()
	if role == node.Agent {
		return maps.Clone(n.K3s.Config)
	}
	k := f.Cluster.K3s
	out := overlay(k.Config, n.K3s.Config)
	if k.ShareImages { // must be equal on all servers and witnesses
		out["embedded-registry"] = true
	}
	if f.Cluster.Longhorn != nil { // k3s' own storage class would be a second default, and k3s restores it at every start
		out["disable"] = appendNew(node.Settings(out).List("disable"), "local-storage")
	}
	if k.Backup != nil && role == node.Server { // a witness has no API server from which to read the secret
		out["etcd-s3"], out["etcd-s3-config-secret"] = true, contract.EtcdSecret
	}
	return out
}

// fortnight is how many etcd snapshots a server makes in two weeks, with k3s' default of two
// a day.
const fortnight = 28

// etcdBackup returns nil if there is no bucket. k3s' retention counts the snapshots of all
// servers in the folder together. So Keep is the sum of a fortnight's for each server, or
// more for a server with a higher retention of its own. The folder defaults to the cluster's
// name: otherwise fleets that share a bucket without a prefix would delete each other's
// snapshots.
func (f *Fleet) etcdBackup(read reader) (*seed.EtcdBackup, error) {
	bucket, err := f.Cluster.K3s.Backup.read(read, "cluster.k3s.backup")
	if bucket == nil || err != nil {
		return nil, err
	}
	b := &seed.EtcdBackup{S3: bucket, Folder: cmp.Or(strings.Trim(bucket.Prefix, "/"), f.Cluster.Name)}
	for _, n := range f.Nodes.by {
		if n.Role.In() == node.Server {
			own, _ := strconv.Atoi(strings.Join(node.Settings(f.flags(n)).List("etcd-snapshot-retention"), "")) // k3s itself reports what is not a number
			b.Keep += max(fortnight, own)
		}
	}
	return b, nil
}

func appendNew(list []string, value string) []string {
	if slices.Contains(list, value) {
		return list
	}
	return append(list, value)
}

// overlay returns the cluster's flags, overridden by the node's own.
func overlay(cluster, own map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, cluster)
	maps.Copy(out, own)
	return out
}

// workTaint keeps other pods off servers; the pods that k3s itself runs tolerate it.
const workTaint = "node-role.kubernetes.io/control-plane=true:NoSchedule"

// Taints are the node's taints. If there are agents, servers run nothing but k3s' own pods
// unless workOnServers is set: a Pi with 4 GB has no room for Longhorn beside Argo CD.
func (f *Fleet) Taints(n Node) []string {
	out := slices.Clone(n.Taints)
	if n.Role.In() != node.Server || f.Cluster.K3s.WorkOnServers || len(f.storage()) == 0 {
		return out
	}
	return appendNew(out, workTaint)
}

// mirrors makes containerd ask the other nodes, through the registry that k3s embeds, before
// the registry that an image names: docs.k3s.io, "Embedded Registry Mirror".
var mirrors = node.File{Path: "/etc/rancher/k3s/registries.yaml", Mode: 0o644, Content: "mirrors: {\"*\": {}}\n"}

// withMirrors adds the file mirrors to a node's files, unless a person listed that path.
func (f *Fleet) withMirrors(role node.Role, all []node.File) []node.File {
	own := func(file node.File) bool { return file.Path == mirrors.Path }
	if !f.Cluster.K3s.ShareImages || role == node.Control || slices.ContainsFunc(all, own) {
		return all
	}
	return append(all, mirrors)
}

// settled are the flags that a field of cluster.k3s determines, by that field.
func (k K3s) settled() map[string][]string {
	out := map[string][]string{}
	if k.ShareImages {
		out["shareImages"] = []string{"embedded-registry"}
	}
	if k.Backup != nil { // k3s ignores the secret if any of these is set
		out["backup"] = []string{
			"etcd-s3", "etcd-s3-access-key", "etcd-s3-bucket", "etcd-s3-bucket-lookup-type", "etcd-s3-config-secret", "etcd-s3-endpoint",
			"etcd-s3-endpoint-ca", "etcd-s3-folder", "etcd-s3-insecure", "etcd-s3-proxy", "etcd-s3-region", "etcd-s3-retention",
			"etcd-s3-secret-key", "etcd-s3-session-token", "etcd-s3-skip-ssl-verify", "etcd-s3-timeout",
		}
	}
	return out
}

// k3s refuses flags that a field determines already, and an invalid bucket.
func (c *checker) k3s() {
	k := c.fleet.Cluster.K3s
	for field, flags := range k.settled() {
		for _, flag := range flags {
			why := "cluster.k3s." + field + " says it already: leave one of them out"
			if _, twice := k.Config[flag]; twice {
				c.Refuse([]string{"cluster", "k3s", "config", flag}, "%s", why)
			}
			for _, name := range c.fleet.Nodes.Names {
				if _, twice := c.fleet.Nodes.by[name].K3s.Config[flag]; twice {
					c.Refuse([]string{"nodes", name, "k3s", "config", flag}, "%s", why)
				}
			}
		}
	}
	c.flags(k.Config, node.Server, "cluster")
	c.bucket(k.Backup, "cluster", "k3s", "backup")
	if k.Backup == nil {
		return
	}
	if u, err := url.Parse(k.Backup.Endpoint); err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil) {
		c.Refuse([]string{"cluster", "k3s", "backup", "endpoint"}, "k3s takes a host and a port alone: leave out what is before and after them")
	}
}

// flags checks k3s flags for a role; the cluster's flags apply to servers and witnesses.
func (c *checker) flags(s node.Settings, r node.Role, at ...string) {
	unfit := s.Unfit(r)
	for _, flag := range slices.Sorted(maps.Keys(unfit)) {
		c.Refuse(slices.Concat(at, []string{"k3s", "config", flag}), "%v", unfit[flag])
	}
}

// bucket checks a bucket without reading its secret.
func (c *checker) bucket(s *S3, at ...string) {
	if s == nil {
		return
	}
	bucket, _ := s.read(placeholder, "")
	for field, why := range bucket.Problems() {
		c.Refuse(append(slices.Clone(at), field), "%s", why)
	}
}

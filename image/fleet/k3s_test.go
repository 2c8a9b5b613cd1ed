package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const clustered = `    shareImages: true
    backup: {endpoint: "https://s3.example.net", region: eu-1, bucket: snapshots, prefix: home/etcd/, accessKey: AKIA, secretKey: {env: ETCD_S3}}
    config: {`

// TestWhatAClusterSharesReachesItsNodes: flags that must be equal on all servers are also on
// the witness, no file contains a bucket's key, and every node of the cluster has the
// registry mirror.
func TestWhatAClusterSharesReachesItsNodes(t *testing.T) {
	t.Setenv("ETCD_S3", "planted-etcd")
	f, err := seeded(t, "    config: {", clustered+"disable: traefik, ", "role: agent", "role: agent, k3s: {config: {kubelet-arg: max-pods=50}}")
	if err != nil {
		t.Fatal(err)
	}
	f.Cluster.Headscale.Server = Server{} // its keys are not here
	flags := map[string][]string{}
	for _, name := range f.Nodes.Names {
		c, err := f.Config(name)
		if err != nil {
			t.Fatal(err)
		}
		for flag, value := range c.K3s.Config {
			flags[flag] = append(flags[flag], fmt.Sprintf("%s=%v", name, value))
		}
		mirrored := slices.ContainsFunc(c.Files, func(file node.File) bool {
			return file.Path == "/etc/rancher/k3s/registries.yaml" && strings.Contains(file.Content.Reveal(), `mirrors: {"*": {}}`)
		})
		tainted := slices.Contains(c.K3s.Taints, workTaint)
		if !mirrored || tainted != (c.Role == node.Server) {
			t.Errorf("%s: files %v, taints %v", name, c.Files, c.K3s.Taints)
		}
		var s3 []node.Secret
		for _, s := range c.K3s.Seed.Secrets {
			if s.Namespace == "kube-system" {
				s3 = append(s3, s)
			}
		}
		if (len(s3) == 1) != (name == "home-pi") {
			t.Errorf("%s has %d secrets for etcd's snapshots", name, len(s3))
		}
	}
	for flag, want := range map[string]string{
		"embedded-registry":     "home-pi=true cabin-pi=true vps=true",
		"secrets-encryption":    "home-pi=true cabin-pi=true vps=true",
		"disable":               "home-pi=[traefik local-storage] cabin-pi=[traefik local-storage] vps=[traefik local-storage]",
		"etcd-s3":               "home-pi=true cabin-pi=true",
		"etcd-s3-config-secret": "home-pi=k3s-etcd-snapshot-s3-config cabin-pi=k3s-etcd-snapshot-s3-config",
		"kubelet-arg":           "home-box=max-pods=50",
	} {
		if got := strings.Join(flags[flag], " "); got != want {
			t.Errorf("%s: %s, want %s", flag, got, want)
		}
	}
	if policy, err := f.Policy(); err != nil || !strings.Contains(string(policy), `"tag:k3s-agent:5001,6443"`) {
		t.Errorf("%v: %s", err, policy)
	}
	if got := f.Twice(); !slices.Equal(got, []string{"coredns"}) {
		t.Errorf("twice: %q", got)
	}
}

// TestSnapshotsReachBackTwoWeeks: the retention covers all servers together, is larger if a
// server keeps more itself, and the folder is not another fleet's.
func TestSnapshotsReachBackTwoWeeks(t *testing.T) {
	t.Setenv("ETCD_S3", "planted-etcd")
	noPrefix := strings.Replace(clustered, "prefix: home/etcd/, ", "", 1)
	for _, c := range []struct{ backup, cabin, folder, keep string }{
		{clustered, "cabin-pi: {", "home/etcd", "56"},
		{noPrefix, "cabin-pi: {k3s: {config: {etcd-snapshot-retention: 336}}, ", "going-mobile", "364"},
		{noPrefix, "cabin-pi: {k3s: {config: {etcd-snapshot-retention: 3}}, ", "going-mobile", "56"},
	} {
		f, err := seeded(t, "    config: {", c.backup, "cabin-pi: {", c.cabin)
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.seed(f.read)
		if err != nil {
			t.Fatal(err)
		}
		data := s.Secrets[0].Data
		if data["etcd-s3-folder"].Reveal() != c.folder || data["etcd-s3-retention"].Reveal() != c.keep {
			t.Errorf("%s: %s in %s, want %s in %s", c.cabin, data["etcd-s3-retention"].Reveal(), data["etcd-s3-folder"].Reveal(), c.keep, c.folder)
		}
	}
}

// TestAClusterMayHaveItOtherwise: without these settings node.yaml has nothing of them, and
// a person's own settings take precedence.
func TestAClusterMayHaveItOtherwise(t *testing.T) {
	f := load(t, strings.NewReplacer("    config: {", "    workOnServers: true\n    config: {").Replace(elsewhere()))
	c, err := f.Config("cabin-pi")
	if err != nil || len(c.K3s.Taints) != 0 || len(c.Files) != 0 || len(c.K3s.Config) != 1 {
		t.Errorf("%+v, %v", c.K3s, err)
	}
	if policy, err := f.Policy(); err != nil || strings.Contains(string(policy), "5001") {
		t.Errorf("%v: %s", err, policy)
	}
	// Without agents somebody must work.
	only := load(t, strings.ReplaceAll(elsewhere(), "role: agent", "role: server"))
	if c, err := only.Config("cabin-pi"); err != nil || len(c.K3s.Taints) != 0 {
		t.Errorf("%+v, %v", c.K3s, err)
	}
	for _, off := range []string{"[coredns, traefik]", "'coredns,traefik'"} {
		none := load(t, strings.Replace(elsewhere(), "    config: {", "    config: {disable: "+off+", ", 1))
		if got := none.Twice(); len(got) != 0 {
			t.Errorf("disable: %s has twice: %q", off, got)
		}
	}
	one := load(t, strings.NewReplacer("site: cabin", "site: home").Replace(elsewhere()))
	if got := one.Twice(); len(got) != 0 {
		t.Errorf("one site has twice: %q", got)
	}
	t.Setenv("OWN_MIRRORS", "mirrors: {docker.io: {}}")
	own := load(t, strings.NewReplacer("    config: {", "    shareImages: true\n    config: {",
		"cabin-pi: {", "cabin-pi: {files: [{path: /etc/rancher/k3s/registries.yaml, content: {env: OWN_MIRRORS}}], ").Replace(elsewhere()))
	if c, err := own.Config("cabin-pi"); err != nil || len(c.Files) != 1 || !strings.Contains(c.Files[0].Content.Reveal(), "docker.io") {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestClusterFaults(t *testing.T) {
	t.Setenv("ETCD_S3", "planted-etcd")
	for change, want := range map[[2]string]string{
		{"    config: {", clustered + "embedded-registry: true, "}:                          `field "cluster.k3s.config.embedded-registry": cluster.k3s.shareImages says it already`,
		{"    config: {", clustered + "etcd-s3-folder: x, "}:                                `field "cluster.k3s.config.etcd-s3-folder": cluster.k3s.backup says it already`,
		{"    config: {", strings.Replace(clustered, "example.net", "example.net/x", 1)}:    `field "cluster.k3s.backup.endpoint": k3s takes a host and a port alone`,
		{"    config: {", strings.Replace(clustered, ", secretKey: {env: ETCD_S3}", "", 1)}: `field "cluster.k3s.backup.secretKey": is missing`,
		{"    config: {", strings.Replace(clustered, "bucket: snapshots, ", "", 1)}:         `field "cluster.k3s.backup.bucket": is missing`,
	} {
		_, err := seeded(t, change[0], change[1])
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%q: %v\nwant %s", change[1], err, want)
		}
	}
	_, err := seeded(t, "    config: {", clustered, "cabin-pi: {", "cabin-pi: {k3s: {config: {etcd-s3-bucket: x}}, ")
	if err == nil || !strings.Contains(err.Error(), `field "nodes.cabin-pi.k3s.config.etcd-s3-bucket": cluster.k3s.backup says it already`) {
		t.Error(err)
	}
}

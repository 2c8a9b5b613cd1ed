// Package k3sconfig makes what k3s reads at its start: its config.yaml (docs.k3s.io,
// "Configuration File"), drop-ins for its kubelet and its containerd, and its unit's environment.
// All follow from node.yaml and from the node's place in its cluster, and from nothing else.
package k3sconfig

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Files that config.yaml refers to.
const (
	Dir        = "/etc/rancher/k3s"
	Token      = Dir + "/token"
	AgentToken = Dir + "/agent-token"
)

// SupervisorPort is where a server answers those that join, and the API.
const SupervisorPort = 6443

// Place is what node.yaml does not say about a node.
type Place struct {
	Address    netip.Addr // of the node, in the tailnet
	Create     bool       // a cluster begins here
	Join       netip.Addr // of the server to join by, if any
	AgentToken bool       // the node has the file AgentToken, although a sealed node.yaml does not tell
}

// Config returns config.yaml, with every flag by its long name. yaml sorts the keys. What
// node.yaml has under k3s.config comes first and is overridden, except that lists are joined.
func Config(cfg *node.Config, p Place) node.Settings {
	c := node.Settings{}
	maps.Copy(c, cfg.K3s.Config)
	c["node-name"] = cfg.Node
	c["node-ip"] = p.Address.String()
	// flannel derives its MTU from this interface: 1280 of tailscale0 less 50
	// for VXLAN.
	c["flannel-iface"] = "tailscale0"
	c["token-file"] = Token
	// The stub resolver's address, 127.0.0.53, is of no use inside a pod.
	c["resolv-conf"] = "/run/systemd/resolve/resolv.conf"
	c["node-label"] = labels(cfg)
	// /usr is read-only, and the kubelet's default directory for plugins is in
	// it.
	add(c, "kubelet-arg", "volume-plugin-dir=/var/lib/kubelet/volumeplugins")
	if t := taints(cfg); len(t) > 0 {
		c["node-taint"] = t
	}
	if p.Join.IsValid() {
		c["server"] = "https://" + netip.AddrPortFrom(p.Join, SupervisorPort).String()
	}
	if cfg.Role != node.Agent {
		serve(c, cfg, p)
	}
	return c
}

// serve adds what servers and witnesses need.
func serve(c node.Settings, cfg *node.Config, p Place) {
	c["advertise-address"] = p.Address.String()
	add(c, "tls-san", p.Address.String(), cfg.Node)
	c["write-kubeconfig-mode"] = "0600"
	if p.Create {
		c["cluster-init"] = true
	}
	if p.AgentToken || !cfg.K3s.AgentToken.Empty() {
		c["agent-token-file"] = AgentToken
	}
	prefer(c, "etcd-arg", fmt.Sprintf("heartbeat-interval=%d", node.EtcdHeartbeat), fmt.Sprintf("election-timeout=%d", node.EtcdElection))
	if cfg.Role == node.Witness { // docs.k3s.io, "Managing Server Roles": etcd only
		c["disable-apiserver"] = true
		c["disable-controller-manager"] = true
		c["disable-scheduler"] = true
		return
	}
	add(c, "kube-controller-manager-arg", "flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins")
	bePatient(c)
}

// bePatient lets a server survive the seconds that etcd takes to answer on a
// busy SD card, or while it has no leader (between EtcdElection and twice
// that). With Kubernetes' default of 2 s the API reports that it is not ready.
// With the default of 10 s to renew a lease, k3s exits ("leaderelection lost"):
// when node.EtcdElection was measured, on disks that stop for 4 to 8 s, leases
// were lost 9 times in 10 minutes, and never with 30 s. A dead server's
// controllers are taken over after 45 s; with three times that, a dead node
// looked Ready for four minutes.
func bePatient(c node.Settings) {
	prefer(c, "kube-apiserver-arg", "etcd-healthcheck-timeout=10s", "etcd-readycheck-timeout=10s")
	for _, controllers := range []string{"kube-controller-manager-arg", "kube-scheduler-arg", "kube-cloud-controller-manager-arg"} {
		prefer(c, controllers, "leader-elect-lease-duration=45s", "leader-elect-renew-deadline=30s", "leader-elect-retry-period=5s")
	}
}

func labels(cfg *node.Config) []string {
	all := []string{"topology.kubernetes.io/region=" + cfg.Site, "topology.kubernetes.io/zone=" + cfg.Site}
	for k, v := range cfg.K3s.Labels {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return all
}

// taints returns node.yaml's taints, with one that keeps all pods away from a
// witness.
func taints(cfg *node.Config) []string {
	t := slices.Clone(cfg.K3s.Taints)
	if cfg.Role == node.Witness {
		t = append(t, "node-role.kubernetes.io/etcd=true:NoExecute")
	}
	return t
}

// add appends values to a list, unless it has them already. node.yaml may have
// the list as a single value.
func add(c node.Settings, key string, values ...string) {
	list := c.List(key)
	for _, v := range values {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	c[key] = list
}

// prefer appends those of the arguments NAME=VALUE whose name is not in the
// list.
func prefer(c node.Settings, key string, args ...string) {
	list := c.List(key)
	for _, a := range args {
		name, _ := node.CutArg(a)
		if !slices.ContainsFunc(list, func(have string) bool { n, _ := node.CutArg(have); return n == name }) {
			list = append(list, a)
		}
	}
	c[key] = list
}

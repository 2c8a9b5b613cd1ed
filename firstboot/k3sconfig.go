package firstboot

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// k3sConfig returns config.yaml, with every flag by its long name. yaml sorts
// the keys. What node.yaml has under k3s.config comes first and is overridden,
// except that lists are joined.
func (m *machine) k3sConfig(st TailnetStatus, v via) node.Settings {
	c := node.Settings{}
	maps.Copy(c, m.cfg.K3s.Config)
	ip := v4First(st.IPs).String()
	c["node-name"] = m.cfg.Node
	c["node-ip"] = ip
	// flannel derives its MTU from this interface: 1280 of tailscale0 less 50
	// for VXLAN.
	c["flannel-iface"] = "tailscale0"
	c["token-file"] = k3sToken
	// The stub resolver's address, 127.0.0.53, is of no use inside a pod.
	c["resolv-conf"] = "/run/systemd/resolve/resolv.conf"
	c["node-label"] = m.nodeLabels()
	// /usr is read-only, and the kubelet's default directory for plugins is in
	// it.
	add(c, "kubelet-arg", "volume-plugin-dir=/var/lib/kubelet/volumeplugins")
	if t := m.nodeTaints(); len(t) > 0 {
		c["node-taint"] = t
	}
	if v.join.IsValid() {
		c["server"] = "https://" + netip.AddrPortFrom(v.join, supervisorPort).String()
	}
	if m.cfg.Role != node.Agent {
		m.serverConfig(c, ip, v)
	}
	return c
}

func (m *machine) serverConfig(c node.Settings, ip string, v via) {
	c["advertise-address"] = ip
	add(c, "tls-san", ip, m.cfg.Node)
	c["write-kubeconfig-mode"] = "0600"
	if v.create {
		c["cluster-init"] = true
	}
	if !m.cfg.K3s.AgentToken.Empty() || m.hasAgentToken() {
		c["agent-token-file"] = k3sAgents
	}
	prefer(c, "etcd-arg", fmt.Sprintf("heartbeat-interval=%d", node.EtcdHeartbeat), fmt.Sprintf("election-timeout=%d", node.EtcdElection))
	if m.cfg.Role == node.Witness { // docs.k3s.io, "Managing Server Roles": etcd only
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

func (m *machine) hasAgentToken() bool {
	ok, err := m.exists(k3sAgents)
	return err == nil && ok
}

func (m *machine) nodeLabels() []string {
	labels := []string{"topology.kubernetes.io/region=" + m.cfg.Site, "topology.kubernetes.io/zone=" + m.cfg.Site}
	for k, v := range m.cfg.K3s.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	return labels
}

// nodeTaints returns node.yaml's taints, with one that keeps all pods away from
// a witness.
func (m *machine) nodeTaints() []string {
	t := slices.Clone(m.cfg.K3s.Taints)
	if m.cfg.Role == node.Witness {
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

func v4First(ips []netip.Addr) netip.Addr {
	for _, ip := range ips {
		if ip.Is4() {
			return ip
		}
	}
	return ips[0]
}

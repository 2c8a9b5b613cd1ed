package firstboot

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// k3sConfig returns config.yaml: every flag by its long name. yaml sorts the
// keys. What node.yaml adds under k3s.config comes first and is overridden,
// but lists are joined.
func (m *machine) k3sConfig(st TailnetStatus, v via) map[string]any {
	c := map[string]any{}
	for k, val := range m.cfg.K3s.Config {
		c[k] = val
	}
	ip := v4First(st.IPs).String()
	c["node-name"] = m.cfg.Node
	c["node-ip"] = ip
	// flannel takes the MTU of its interface: 1280 of tailscale0 less 50 for
	// VXLAN.
	c["flannel-iface"] = "tailscale0"
	c["token-file"] = k3sToken
	// The stub resolver's 127.0.0.53 means nothing inside a pod.
	c["resolv-conf"] = "/run/systemd/resolve/resolv.conf"
	c["node-label"] = m.nodeLabels()
	// /usr is read-only, and the kubelet's default for plugins lies in it.
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

func (m *machine) serverConfig(c map[string]any, ip string, v via) {
	c["advertise-address"] = ip
	add(c, "tls-san", ip, m.cfg.Node)
	c["write-kubeconfig-mode"] = "0600"
	if v.create {
		c["cluster-init"] = true
	}
	if !m.cfg.K3s.AgentToken.Empty() || m.hasAgentToken() {
		c["agent-token-file"] = k3sAgents
	}
	if m.cfg.Role == node.Witness { // docs.k3s.io, "Managing Server Roles": etcd only
		c["disable-apiserver"] = true
		c["disable-controller-manager"] = true
		c["disable-scheduler"] = true
		return
	}
	add(c, "kube-controller-manager-arg", "flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins")
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

// nodeTaints keep all work away from a witness.
func (m *machine) nodeTaints() []string {
	t := slices.Clone(m.cfg.K3s.Taints)
	if m.cfg.Role == node.Witness {
		t = append(t, "node-role.kubernetes.io/etcd=true:NoExecute")
	}
	return t
}

// add joins values to a list that may come from node.yaml as one value, and
// leaves out what it has already.
func add(c map[string]any, key string, values ...string) {
	var list []string
	switch have := c[key].(type) {
	case nil:
	case []any:
		for _, h := range have {
			list = append(list, fmt.Sprint(h))
		}
	default:
		list = append(list, fmt.Sprint(have))
	}
	for _, v := range values {
		if !slices.Contains(list, v) {
			list = append(list, v)
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

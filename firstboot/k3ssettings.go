package firstboot

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// k3sConfig returns the text of config.yaml.
func (m *machine) k3sConfig(ctx context.Context, v via) ([]byte, error) {
	st, err := m.upStatus(ctx)
	if err != nil {
		return nil, err
	}
	agents, err := m.exists(k3sconfig.AgentToken)
	if err != nil {
		return nil, err
	}
	p := k3sconfig.Place{Address: v4First(st.IPs), Create: v.create, Join: v.join, AgentToken: agents}
	text, err := yaml.Marshal(k3sconfig.Config(m.cfg, p))
	return append([]byte(generated), text...), err
}

// kubeletConfig returns the text of the kubelet's drop-in.
func (m *machine) kubeletConfig() ([]byte, error) {
	total, err := m.memory()
	return []byte(k3sconfig.Kubelet(node.OverheadOf(m.cfg.Role, total))), err
}

// memory returns the memory that the kernel manages, in bytes: proc_meminfo(5).
func (m *machine) memory() (int64, error) {
	text, err := m.read("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == "MemTotal:" {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo: has no MemTotal")
}

func v4First(ips []netip.Addr) netip.Addr {
	for _, ip := range ips {
		if ip.Is4() {
			return ip
		}
	}
	return ips[0]
}

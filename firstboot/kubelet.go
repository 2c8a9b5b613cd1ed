package firstboot

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// kubeletConfig shortens a shutdown with pods running from 90 s to 25 s, for which
// the kubelet has no flag, and keeps from pods what the node itself needs: without,
// they may ask for all of its memory, and the kernel then kills k3s. A flag
// system-reserved among kubelet-arg goes before it.
//
// Pods end in the order of their priority, each group when the one before has ended and
// its volumes are unmounted, or its seconds are over: Longhorn's (longhorn-critical, 1e9)
// serve the volumes of all others, which lose what they wrote last where both end at once
// (longhorn/longhorn#7206); CoreDNS and traefik (2e9) end last. The kubelet does not start
// with groups and one of the two other periods, so these are told to be none, whatever a
// file that it reads earlier says.
func (m *machine) kubeletConfig() (string, error) {
	total, err := m.memory()
	if err != nil {
		return "", err
	}
	o := node.OverheadOf(m.cfg.Role, total)
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
shutdownGracePeriodByPodPriority:
  - {priority: 0, shutdownGracePeriodSeconds: 15}
  - {priority: 1000000000, shutdownGracePeriodSeconds: 5}
  - {priority: 2000000000, shutdownGracePeriodSeconds: 5}
systemReserved:
  cpu: %dm
  memory: %dMi
`, o.CPU, o.Memory>>20), nil
}

// memory is what the kernel has, in bytes: proc_meminfo(5).
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

package firstboot

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// kubeletConfig shortens a shutdown with running pods from 90 s to 20 s, for which the
// kubelet has no flag. It also reserves what the node itself needs: otherwise pods may ask
// for all of its memory, and the kernel then kills k3s. A flag system-reserved among
// kubelet-arg takes precedence over this.
func (m *machine) kubeletConfig() (string, error) {
	total, err := m.memory()
	if err != nil {
		return "", err
	}
	o := node.OverheadOf(m.cfg.Role, total)
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
shutdownGracePeriod: 20s
shutdownGracePeriodCriticalPods: 5s
systemReserved:
  cpu: %dm
  memory: %dMi
`, o.CPU, o.Memory>>20), nil
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

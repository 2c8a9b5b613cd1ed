package k3sconfig

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Kubelet returns a KubeletConfiguration that shortens a shutdown with running pods from 90 s to
// 25 s, for which the kubelet has no flag. It also reserves what the node itself needs: otherwise
// pods may ask for all of its memory, and the kernel then kills k3s. A flag system-reserved among
// kubelet-arg takes precedence over this.
//
// Pods end in the order of their priority. Each group ends when the one before has ended and
// its volumes are unmounted, or its seconds are over. Longhorn's pods (longhorn-critical, 1e9)
// serve the volumes of all others, which would lose their last writes if both ended at once
// (longhorn/longhorn#7206); CoreDNS and traefik (2e9) end last. The kubelet does not start with
// both groups and one of the two other periods, so these are set to 0, whatever an earlier
// drop-in says.
func Kubelet(o node.Overhead) string {
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
`, o.CPU, o.Memory>>20)
}

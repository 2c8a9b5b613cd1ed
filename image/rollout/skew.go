package rollout

import (
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// minor is 36 for "v1.36.4+k3s1", and negative if the text is no release of k3s.
func minor(version string) int {
	if _, n, ok := contract.Series(version); ok {
		return n
	}
	return -1
}

// newMinor says that the node gets a different minor version of k3s.
func (t Target) newMinor() bool {
	return minor(t.gets.K3s) >= 0 && minor(t.version) >= 0 && minor(t.version) != minor(t.gets.K3s)
}

// oldestKubelet is how many minor versions a kubelet may be behind an API server
// (kubernetes.io, "Version Skew Policy").
const oldestKubelet = 3

// skew refuses an update that would leave the cluster with versions that do not go together:
// nodes that are not among the targets keep their version.
func (r *Rollout) skew() error {
	for _, t := range r.order {
		k3s, next := t.gets.K3s, minor(t.gets.K3s)
		if !t.inCluster() || next < 0 {
			continue
		}
		if t.Role != node.Server && r.silent != nil {
			return fmt.Errorf("%s would get k3s %s, which must not be newer than the servers', and the cluster does not say what they run: name only servers, or one node with --reboot --no-drain: %w", t.Name, k3s, r.silent)
		}
		for _, other := range r.all {
			have := minor(other.version)
			gets := slices.ContainsFunc(r.order, func(t Target) bool { return t.Name == other.Name })
			if have < 0 {
				continue
			}
			switch {
			case gets && !r.o.Restart && other.Role == node.Server && t.Role != node.Server && next > have:
				return fmt.Errorf("%s would get k3s %s, and the server %s runs %s: without --reboot it only receives the new minor version. Update the servers first, restart them, then the others", t.Name, k3s, other.Name, other.version)
			case gets:
				continue
			case other.Role == node.Server && t.Role != node.Server && next > have:
				return fmt.Errorf("%s would get k3s %s, and the server %s runs %s: servers get a new minor version first", t.Name, k3s, other.Name, other.version)
			case other.Role == node.Server && t.Role == node.Server && next > have+1:
				return fmt.Errorf("%s would get k3s %s, and the server %s runs %s: between servers there may be one minor version", t.Name, k3s, other.Name, other.version)
			case t.Role == node.Server && next > have+oldestKubelet:
				return fmt.Errorf("%s would get k3s %s, and %s runs %s, which is too old for that: update it first", t.Name, k3s, other.Name, other.version)
			}
		}
	}
	return nil
}

package rollout

import (
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// minor is 36 in "v1.36.4+k3s1", negative in what is no version of k3s.
func minor(version string) int {
	var n int
	if _, err := fmt.Sscanf(version, "v1.%d.", &n); err != nil {
		return -1
	}
	return n
}

// newMinor says that the node gets another minor version of k3s.
func (t Target) newMinor() bool {
	return minor(t.gets.K3s) >= 0 && minor(t.version) >= 0 && minor(t.version) != minor(t.gets.K3s)
}

// oldestKubelet is how many minor versions a kubelet may be behind an API server
// (kubernetes.io, "Version Skew Policy").
const oldestKubelet = 3

// skew refuses an update after which the cluster has versions that do not go
// together: nodes that are not among the targets stay what they are.
func (r *Rollout) skew() error {
	for _, t := range r.order {
		k3s, next := t.gets.K3s, minor(t.gets.K3s)
		for _, other := range r.all {
			have := minor(other.version)
			gets := slices.ContainsFunc(r.order, func(t Target) bool { return t.Name == other.Name })
			if !t.inCluster() || have < 0 || next < 0 || gets {
				continue
			}
			switch {
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

package node

// Overhead is what k3s, containerd and the system take of a node's resources.
type Overhead struct {
	CPU    int64 // thousandths of a processor
	Memory int64 // bytes
}

// OverheadOf returns the overhead of a node of role r with memory bytes of RAM. A server of an
// empty cluster was measured at 0.6 to 0.7 GB, and k3s' own figures (docs.k3s.io, "Resource
// Profiling") give 1.6 GB with a workload. The memory is never more than a third of the RAM: a
// kubelet that has to reserve more than there is does not start. It is rounded down to 64 MiB: the
// RAM that the kernel reports differs by pages from boot to boot, and another number restarts k3s.
func OverheadOf(r Role, memory int64) Overhead {
	o := Overhead{CPU: 500, Memory: 1229 << 20}
	if r == Agent {
		o = Overhead{CPU: 200, Memory: 500 << 20}
	}
	o.Memory = min(o.Memory, memory/3&^(64<<20-1))
	return o
}

package contract

// ClusterCAFiles are the files that make up a cluster's identity, by k3s' names
// below server/tls (docs.k3s.io, "k3s certificate"). If they are there before a
// server's first start, k3s uses them and never replaces them.
func ClusterCAFiles() []string {
	return []string{
		"client-ca.crt", "client-ca.key",
		"etcd/peer-ca.crt", "etcd/peer-ca.key", "etcd/server-ca.crt", "etcd/server-ca.key",
		"request-header-ca.crt", "request-header-ca.key",
		"server-ca.crt", "server-ca.key",
		"service.key",
	}
}

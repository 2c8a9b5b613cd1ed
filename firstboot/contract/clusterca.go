package contract

// ClusterCAFiles are what a cluster's identity consists of, by the names that
// k3s gives them below server/tls (docs.k3s.io, "k3s certificate"): used, and
// never replaced, where they are there before a server's first start.
func ClusterCAFiles() []string {
	return []string{
		"client-ca.crt", "client-ca.key",
		"etcd/peer-ca.crt", "etcd/peer-ca.key", "etcd/server-ca.crt", "etcd/server-ca.key",
		"request-header-ca.crt", "request-header-ca.key",
		"server-ca.crt", "server-ca.key",
		"service.key",
	}
}

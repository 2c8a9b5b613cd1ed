package host

// SetEtcd lets a test be the etcd.
func SetEtcd(address string) { etcd = address }

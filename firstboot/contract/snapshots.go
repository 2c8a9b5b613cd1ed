package contract

// EtcdSecret is where k3s finds the bucket for snapshots of etcd, by its flag
// etcd-s3-config-secret: a Secret of its namespace, with its flags for keys.
const EtcdSecret = "k3s-etcd-snapshot-s3-config"

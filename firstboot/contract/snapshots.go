package contract

// EtcdSecret is the Secret from which k3s learns the bucket for etcd's
// snapshots (its flag etcd-s3-config-secret). It is in kube-system, and its
// keys are the names of k3s' flags.
const EtcdSecret = "k3s-etcd-snapshot-s3-config"

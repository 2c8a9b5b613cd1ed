package replace

import (
	"fmt"
	"slices"
)

// What a person is told to type where this program cannot do it.

// byKubectl says what to do if the cluster's certificate authorities are not the fleet's.
func (l *Leave) byKubectl() error {
	storage := ""
	if l.fleet.Cluster.Longhorn != nil {
		storage = "\nAnd where it had volumes of Longhorn's, of which other nodes have healthy replicas (kubectl -n longhorn-system get replicas.longhorn.io):\n" + forgetByHand(l.name)
	}
	return fmt.Errorf(`the cluster's authorities are not this fleet's (cluster: k3s: ca:), so its API does not open from here. Say, where kubectl does:
  kubectl delete node %s
  kubectl -n %s delete secret %s --ignore-not-found%s
Then do this again with --cluster-done`, l.name, passwordSpace, l.password(), storage)
}

// reset says how one server becomes the only voter, with all data that it has (docs.k3s.io,
// "k3s server --cluster-reset"). k3s refuses this while its settings name a server to join.
// Meanwhile firstboot must not start k3s, nor systemd, where tailscaled upholds k3s: so
// firstboot is stopped, and k3s.env, which k3s' unit requires, is moved away. The copy of
// the settings is private, as they may contain passwords.
func (l *Leave) reset(here []string) string {
	at := slices.IndexFunc(here, func(name string) bool { return slices.Contains(l.fleet.Servers(), name) })
	if at < 0 {
		return "no server is left that could go on alone: make a new cluster from etcd's last snapshot"
	}
	return fmt.Sprintf(`%[1]s can go on alone, with the data that it has; what only the dead one had is lost:
  ssh root@%[1]s
  systemctl stop firstboot
  mv /etc/rancher/k3s/k3s.env /run/
  systemctl stop k3s
  (umask 077; sed '/^server:/d' /etc/rancher/k3s/config.yaml >/run/reset.yaml)
  k3s server --config /run/reset.yaml --cluster-reset
  rm /run/reset.yaml
  mv /run/k3s.env /etc/rancher/k3s/
  systemctl start k3s firstboot
Then do this again`, here[at])
}

// forgetByHand returns the kubectl commands that do what kube's ForgetStorage does.
func forgetByHand(name string) string {
	return fmt.Sprintf(`  kubectl -n longhorn-system patch nodes.longhorn.io %[1]s --type merge -p '{"spec":{"allowScheduling":false}}'
  kubectl -n longhorn-system delete replicas.longhorn.io -l longhornnode=%[1]s
  kubectl -n longhorn-system delete nodes.longhorn.io %[1]s`, name)
}

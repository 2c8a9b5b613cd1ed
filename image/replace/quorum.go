package replace

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/kube"
)

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

// silent explains why no API server answers, as far as the tailnet's list shows.
func (l *Leave) silent(err error) error {
	voters, here := l.voters()
	if !errors.Is(err, kube.ErrSilent) || l.tailnet == nil || len(here) > len(voters)/2 {
		return err
	}
	if len(here) == 0 {
		return fmt.Errorf("%w\nNone of the nodes that vote in etcd (%s) is online: the cluster is down. Switch its servers on first",
			err, strings.Join(voters, ", "))
	}
	return fmt.Errorf(`%w
The cluster has lost its quorum: etcd needs %d of its %d voters (%s), and only %s is online. Until it has them the cluster changes nothing, and lets no node go.
If another voter can come back, switch it on, and do this again. If none can, %s`,
		err, len(voters)/2+1, len(voters), strings.Join(voters, ", "), strings.Join(here, ", "), l.reset(here))
}

// voters are the nodes that vote in etcd (all), and those of them that are online, without
// the one to be replaced (here).
func (l *Leave) voters() (all, here []string) {
	all = l.fleet.Voters()
	for _, name := range all {
		if name != l.name && l.online(name) {
			here = append(here, name)
		}
	}
	return all, here
}

func (l *Leave) online(name string) bool {
	for _, m := range l.tailnet {
		if m.GivenName == name && m.Online {
			return true
		}
	}
	return false
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

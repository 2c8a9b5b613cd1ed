package replace

import (
	"errors"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/image/kube"
)

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

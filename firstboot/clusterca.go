package firstboot

import (
	"maps"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// layIdentity puts the cluster's own certificate authorities where k3s looks
// for them before its first start. Once there is a data store, all nodes trust
// its authorities and they stay as they are: with others it would be another
// cluster. A server that joins gets them from the data store.
func (m *machine) layIdentity(v via) error {
	if !v.create || len(m.cfg.K3s.CA) == 0 {
		return nil
	}
	if founded, err := m.exists(k3sServer + "/db"); err != nil || founded {
		return err
	}
	return m.ensure(identityFiles(m.cfg))
}

func identityFiles(cfg *node.Config) []file {
	var all []file
	for _, name := range slices.Sorted(maps.Keys(cfg.K3s.CA)) {
		all = append(all, file{path: k3sServer + "/tls/" + name, data: []byte(cfg.K3s.CA[name].Reveal()), mode: 0o600})
	}
	return all
}

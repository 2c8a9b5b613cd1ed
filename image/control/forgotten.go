package control

import (
	"context"
	"slices"

	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// forgotten lists the other nodes whose keys were made after the copy from which the server's
// database was restored. Those that had joined are no members there either.
func (s *server) forgotten(ctx context.Context) (out []string, err error) {
	made, err := mint.Keys(s.fleet)
	if err != nil {
		return nil, err
	}
	keys, err := s.api.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	members, err := s.api.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range s.fleet.Nodes.Names {
		member := func(m headscale.Node) bool { return m.GivenName == name || mint.Joined(made[name], name, m) }
		if name != s.name && mint.Forgotten(made[name], keys, s.now()) && !slices.ContainsFunc(members, member) {
			out = append(out, name)
		}
	}
	return out, nil
}

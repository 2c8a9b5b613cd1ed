package roster

import (
	"context"
	"maps"
	"slices"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// Former returns the members that joined with a key of this fleet, but whose node is not in
// the fleet's file any more. Such a node still votes in etcd, and keeps its place in the
// cluster. The rows are only to be shown: nothing is known of what the node should be.
func Former(ctx context.Context, f *fleet.Fleet, server Server) (rows []Row, err error) {
	made, members, err := look(ctx, f, server)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if slices.Contains(f.Nodes.Names, name) {
			continue
		}
		for _, m := range joined(made[name], name, members) {
			rows = append(rows, Row{Node: name, State: connection(m), Number: m.ID, Joined: m.Created, LastSeen: m.LastSeen, Address: address(m), Notes: []string{
				"it is a member, but not in fleet.yaml: put its line back, and then: imagebuilder revoke " + name,
			}})
		}
	}
	return rows, nil
}

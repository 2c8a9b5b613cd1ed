package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/replace"
)

// noMembers refuses cards for nodes that are members: one more of that name cannot join. The
// node that runs Headscale does not join with its card, and a node with a data disk finds
// itself on that disk again. silent says why Headscale does not answer.
func (n *nodeCards) noMembers(ctx context.Context, f *fleet.Fleet, client *headscale.Client) (silent, err error) {
	if client == nil {
		return nil, nil
	}
	tailnet, silent := client.Nodes(ctx)
	if silent != nil {
		return silent, nil
	}
	for _, w := range n.wanted {
		of, err := f.Find(w.node)
		if err != nil {
			return nil, err
		}
		if of.Role.Controls() || of.DataDisk != (node.Disk{}) {
			continue
		}
		members, _, err := replace.Find(f, tailnet, w.node)
		if err != nil {
			return nil, err
		}
		if len(members) > 0 {
			return nil, isMember(w.node, members)
		}
	}
	return nil, nil
}

func isMember(name string, members []headscale.Node) error {
	var entries, forget []string
	for _, m := range members {
		state := "offline"
		if m.Online {
			state = "online"
		}
		entries = append(entries, fmt.Sprintf("number %s, %s", m.ID, state))
		forget = append(forget, "headscale nodes delete -i "+string(m.ID))
	}
	return fmt.Errorf("%[1]s is a member of the tailnet already (%[2]s), so a node from a new card could not join by that name. "+
		"To put one in its place: imagebuilder replace %[1]s. If it is in no cluster, or that is gone, delete it where Headscale runs (%[3]s), and do this again",
		name, strings.Join(entries, "; "), strings.Join(forget, "; "))
}

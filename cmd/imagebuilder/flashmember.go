package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/replace"
)

// memberError refuses a card for a node that is a member: one more of its name cannot join.
type memberError struct {
	node    string
	members []headscale.Node
}

func (e *memberError) Error() string {
	var members, forget []string
	for _, m := range e.members {
		state := "offline"
		if m.Online {
			state = "online"
		}
		members = append(members, fmt.Sprintf("number %s, %s", m.ID, state))
		forget = append(forget, "headscale nodes delete -i "+string(m.ID))
	}
	return fmt.Sprintf("%[1]s is a member of the tailnet already (%[2]s), so a node from a new card could not join by that name. "+
		"To put one in its place: imagebuilder replace %[1]s. If it is in no cluster, or that is gone, delete it where Headscale runs (%[3]s), and do this again",
		e.node, strings.Join(members, "; "), strings.Join(forget, "; "))
}

// noMembers refuses cards for nodes that are members. The node that runs Headscale does not
// join with its card, and a node with a data disk finds itself on that disk again.
func (n *nodeCards) noMembers(ctx context.Context, f *fleet.Fleet, client *headscale.Client) error {
	if client == nil {
		return nil
	}
	tailnet, err := client.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, w := range n.wanted {
		of, err := f.Find(w.node)
		if err != nil {
			return err
		}
		if of.Role.Controls() || of.DataDisk != (node.Disk{}) {
			continue
		}
		members, _, err := replace.Find(f, tailnet, w.node)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return &memberError{w.node, members}
		}
	}
	return nil
}

// noKnownMembers is noMembers for the time before a question or a build. It leaves a silent
// Headscale to what comes later, as much can be wrong that is easier to mend.
func (n *nodeCards) noKnownMembers(ctx context.Context, f *fleet.Fleet, client *headscale.Client) error {
	var member *memberError
	if err := n.noMembers(ctx, f, client); errors.As(err, &member) {
		return member
	}
	return nil
}

// Package revoke shuts a node out that is in other hands: holders refuse its share of
// the key for ever, the tailnet forgets it, then the cluster.
//
// It does all that it can, in the order in which that helps, and says what is left; done
// again, it does only that. It refuses the machine that runs Headscale, without which
// nobody can be shut out. What the thief may have read it cannot take back: Advice says
// what to change.
package revoke

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

// Holders keep shares of the node's key.
type Holders interface {
	Revoke(ctx context.Context, numbers []string) error
}

// Order is the shutting out of one node.
type Order struct {
	fleet   *fleet.Fleet
	name    string
	node    fleet.Node
	server  replace.Server
	holders Holders
	options replace.Options
	members []headscale.Node
}

// Prepare looks who the node is, and changes nothing.
func Prepare(ctx context.Context, f *fleet.Fleet, server replace.Server, h Holders, name string, o replace.Options) (*Order, error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, err
	}
	if n.Role.Controls() {
		return nil, fmt.Errorf("%s runs Headscale, which shuts others out: make a new one elsewhere (imagebuilder replace %s), and let the name of its address lead there", name, name)
	}
	tailnet, err := server.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	o.EvenIfOnline = true
	order := &Order{fleet: f, name: name, node: n, server: server, holders: h, options: o}
	order.members, err = replace.Members(f, tailnet, name, true)
	return order, err
}

// Steps say what Do will do.
func (o *Order) Steps() (out []string) {
	if o.fleet.Encrypts(o.name) {
		out = append(out, "have "+strings.Join(o.fleet.Holders(o.name), ", ")+" refuse its share of the key for its data, for ever")
	}
	for _, m := range o.members {
		out = append(out, fmt.Sprintf("delete %s (number %s) from the tailnet", m.GivenName, m.ID))
	}
	if !o.alone() {
		out = append(out, "delete it from the cluster, with its vote and its password, if it is there")
	}
	return out
}

// alone says that the cluster is this node.
func (o *Order) alone() bool {
	servers := o.fleet.Servers()
	return len(servers) == 1 && servers[0] == o.name
}

// Do does all of it that can be done. The error says what is left.
func (o *Order) Do(ctx context.Context) error {
	var left []error
	if o.fleet.Encrypts(o.name) {
		var numbers []string
		for _, m := range o.members {
			numbers = append(numbers, string(m.ID))
		}
		if err := o.holders.Revoke(ctx, numbers); err != nil {
			left = append(left, fmt.Errorf("not all who keep its share know: %w", err))
		}
	}
	if err := replace.Forget(ctx, o.server, o.members); err != nil {
		left = append(left, fmt.Errorf("the tailnet: %w", err))
	}
	if err := o.leaveCluster(ctx); err != nil {
		left = append(left, fmt.Errorf("the cluster: %w", err))
	}
	return errors.Join(left...)
}

func (o *Order) leaveCluster(ctx context.Context) error {
	if o.alone() {
		return nil
	}
	leave, err := replace.Prepare(ctx, o.fleet, o.server, o.name, o.options)
	if err != nil {
		return err
	}
	return leave.Do(ctx)
}

// Advice says what else the owner has to do, as whoever has the disk could read it.
func (o *Order) Advice() []string {
	out := []string{"the tailnet's, Wi-Fi's and proxy's keys, and what node.yaml's files held: change those passwords"}
	tokens := "the cluster's tokens and Secrets that it had"
	if o.fleet.Encrypts(o.name) {
		tokens += ", if it was taken while it ran (switched off, they are locked)"
	}
	how := "a new agent's token ('imagebuilder fleet token', then 'imagebuilder apply --all --risky'), and new values of the Secrets of what ran there"
	if o.node.Role.In() != node.Agent {
		how = "'k3s token rotate' on a server, the new one for all (cluster: k3s: token, agentToken; 'imagebuilder apply --all --risky'), and new values of all Secrets; its certificate authorities are known as well: k3s certificate rotate-ca, or better a new cluster"
	}
	return append(out, tokens+": "+how)
}

package handover

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// voters are the nodes that vote in etcd, except those that have not joined yet.
func voters(f *fleet.Fleet, rows []roster.Row) []string {
	return slices.DeleteFunc(f.Voters(), func(name string) bool {
		return slices.ContainsFunc(rows, func(r roster.Row) bool { return r.Node == name && r.New })
	})
}

// quorum says why the cluster may stop when n, a voter, restarts its k3s, "" if it will not.
// etcd cannot lose n while another voter is away or ill. Package rollout asks for no less
// before it restarts a node.
func (o *Order) quorum(ctx context.Context, n Node) string {
	if !n.changes() || !slices.Contains(n.Steps, "k3s") || !slices.Contains(o.voters, n.Name) {
		return ""
	}
	for _, other := range o.voters {
		if other == n.Name {
			continue
		}
		if why := o.ill(ctx, other); why != "" {
			return "k3s: it starts anew, and etcd may be too few without it, as " + other + " votes there, too: " + why
		}
	}
	return ""
}

// ill says what is wrong with another node, "" if nothing. Each node is asked once per
// round.
func (o *Order) ill(ctx context.Context, name string) string {
	why, asked := o.round[name]
	if !asked {
		why = o.look(ctx, name)
		o.round[name] = why
	}
	return why
}

func (o *Order) look(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var said inquiry.Answer
	out, err := o.line(ctx, name, contract.AskStatus, nil)
	if err == nil {
		said, err = inquiry.Read(out)
	}
	if err != nil {
		said.Silent = inquiry.Plain(err).Error()
	}
	if said.Well() {
		return ""
	}
	return said.Line()
}

// spared waits until the cluster can do without the node: a voter that had its turn before
// may be about to report that it is done.
func (o *Order) spared(ctx context.Context, n Node) error {
	last := ""
	for end := time.Now().Add(tookTime); ; {
		clear(o.round)
		why := o.quorum(ctx, n)
		switch {
		case why == "":
			return nil
		case !time.Now().Before(end):
			return errors.New(why + "; mend that, and do this again (with --risky it goes on all the same)")
		case why != last:
			o.Say(n.Name, "waits: "+why)
		}
		last = why
		if err := ctxio.Sleep(ctx, between); err != nil {
			return err
		}
	}
}

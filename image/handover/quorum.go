package handover

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/inquiry"
)

// voters are the nodes that vote in etcd.
func voters(f *fleet.Fleet) []string {
	return slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool {
		n, _ := f.Nodes.Get(name)
		return !n.Role.In().Votes()
	})
}

// quorum says why the cluster may stop when a voter's k3s starts anew, "" if it need not:
// etcd cannot do without another one that is away, or ill, and this one, too. Whoever
// restarts nodes asks for no less (package rollout).
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

// ill says what is wrong with another node, "" if nothing.
func (o *Order) ill(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := o.line(ctx, name, inquiry.Question, nil)
	if err != nil {
		return "it could not be asked: " + inquiry.Plain(err).Error()
	}
	said, err := inquiry.Read(out)
	switch words := said.Words(); {
	case err != nil:
		return err.Error()
	case said.Well():
		return ""
	case len(words) > 0:
		return strings.Join(words, "; ")
	}
	return "its update is on trial"
}

// spared waits until the cluster can do without the node: one that had its turn before may
// be about to say that it is done.
func (o *Order) spared(ctx context.Context, n Node) error {
	last := ""
	for end := time.Now().Add(tookTime); ; {
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
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

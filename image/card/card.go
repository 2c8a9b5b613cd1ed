// Package card writes the card of one node: its answer from the fleet's file, a
// key of its own, the image of its board, all of it read back.
//
// It mints as late as it can and refuses to leave a key behind: whatever goes
// wrong afterwards, an interruption too, ends it again.
package card

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/seed"
)

// Card is what to write, and where.
type Card struct {
	Node   string
	Image  string // raw or packed
	Target string // a device, or a file
	// Joins makes a card that joins the cluster that there is and never creates
	// one, whatever the fleet's file says: it takes a dead node's place.
	Joins bool
	// Restore brings volumes back where the card's node creates the cluster.
	Restore *node.Restore
}

// Written is a card that was.
type Written struct {
	*flash.Result
	Key *mint.Key // nil for the node that runs Headscale
	// Install is what a stick does with it, nil where the card is the node's own.
	Install *node.Install
}

// Write makes a node's card. The one that runs Headscale gets no key, as there is
// nobody yet who could make it ("headscale init"); m may be nil for it.
func Write(ctx context.Context, f *fleet.Fleet, m *mint.Mint, c Card, opt flash.Options) (*Written, error) {
	cfg, err := f.Config(c.Node)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", c.Node, err)
	}
	if c.Joins {
		// A server gets the authorities from those that live, and the cluster has
		// what it began with.
		cfg.K3s.Init, cfg.K3s.CA, cfg.K3s.Seed = false, nil, node.Seed{}
	}
	if c.Restore != nil {
		cfg.K3s.Seed = seed.After(cfg.K3s.Seed, *c.Restore)
	}
	if cfg.Control != nil {
		result, err := write(ctx, cfg, c, opt)
		if err != nil {
			return nil, err
		}
		return &Written{Result: result, Install: cfg.Install}, nil
	}
	key, err := m.New(ctx, c.Node, time.Now())
	if err != nil {
		return nil, err
	}
	cfg.Headscale.AuthKey = key.Text
	result, err := write(ctx, cfg, c, opt)
	if err != nil {
		return nil, errors.Join(err, m.Expire(ctx, key))
	}
	return &Written{result, key, cfg.Install}, nil
}

func write(ctx context.Context, cfg *node.Config, c Card, opt flash.Options) (*flash.Result, error) {
	text, err := node.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	opt.Node = &flash.Node{Board: cfg.Board, Installs: cfg.Install != nil, YAML: text}
	return flash.WriteImage(ctx, c.Image, c.Target, opt)
}

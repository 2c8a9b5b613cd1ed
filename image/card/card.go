// Package card writes the card of one node: its answer from the fleet's file, a
// key of its own, the image of its board, all of it read back.
//
// It mints as late as it can, when nothing but the medium can refuse any more, and
// refuses to leave a key behind: whatever goes wrong afterwards, an interruption too, ends
// it again. The key of the node's former card is good until this one is whole.
package card

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
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
	// Device is what was agreed to be lost, the zero one where Target is a file.
	Device flash.Device
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
// nobody yet who could make it ("headscale init"); m may be nil for it. A card that is
// good comes beside an error where only the node's former key could not be ended.
func Write(ctx context.Context, f *fleet.Fleet, m *mint.Mint, c Card, opt flash.Options) (*Written, error) {
	cfg, err := Config(f, c)
	if err != nil {
		return nil, err
	}
	text, err := node.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	opt.Node = &flash.Node{Board: cfg.Board, Installs: cfg.Install != nil, YAML: text}
	opt.Agreed = &c.Device
	p, err := flash.Prepare(ctx, c.Image, c.Target, opt)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	w := &Written{Install: cfg.Install}
	if cfg.Control != nil {
		if w.Result, err = p.Write(ctx); err != nil {
			return nil, err
		}
		return w, nil
	}
	w.Key, err = m.Hand(ctx, c.Node, time.Now(), func(key *mint.Key) (err error) {
		cfg.Headscale.AuthKey = key.Text
		w.Result, err = fill(ctx, p, cfg)
		return err
	})
	if w.Key == nil {
		return nil, err
	}
	return w, err
}

// Config is the answer that a card gets, but for its key.
func Config(f *fleet.Fleet, c Card) (*node.Config, error) {
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
	return cfg, nil
}

// keyRoom is more than a key of Headscale's takes, in bytes.
const keyRoom = 128

// Fits says why a card's answer would not fit, while nothing was given up for it.
func Fits(f *fleet.Fleet, c Card) error {
	cfg, err := Config(f, c)
	if err != nil {
		return err
	}
	cfg.Headscale.AuthKey = secret.String(strings.Repeat("k", keyRoom))
	return f.Room(cfg)
}

func fill(ctx context.Context, p *flash.Prepared, cfg *node.Config) (*flash.Result, error) {
	text, err := node.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	if err := p.Fill(text); err != nil {
		return nil, err
	}
	return p.Write(ctx)
}

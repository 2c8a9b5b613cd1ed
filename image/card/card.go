// Package card writes the card of one node: the image of its board, its node.yaml from the
// fleet's file, and a new key. All of it is read back.
//
// The key is minted as late as possible, when only the medium can still fail. If anything
// fails after that, even an interruption, the key is expired again. The key of the node's
// previous card stays valid until the new card is complete.
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
	Image  string // raw or compressed
	Target string // a device, or a file
	// Device is the device whose content the user agreed to lose; zero if Target is a file.
	Device flash.Device
	// Joins makes a card that joins the existing cluster and never creates one, whatever the
	// fleet's file says: for the replacement of a dead node.
	Joins bool
	// Restore has the card's node restore volumes when it creates the cluster; nil for none.
	Restore *node.Restore
}

// Written is a card that was written.
type Written struct {
	*flash.Result
	Key *mint.Key // nil for the node that runs Headscale
	// Install is what an installation stick does, nil if the card is the node's own medium.
	Install *node.Install
}

// Write makes a node's card. The node that runs Headscale gets no key, as there is no
// Headscale yet to make it ("headscale init"); m may be nil for that node. If only the
// node's previous key could not be expired, Write returns the finished card and an error.
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

// Config is the node.yaml for a card, without its key.
func Config(f *fleet.Fleet, c Card) (*node.Config, error) {
	cfg, err := f.Config(c.Node)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", c.Node, err)
	}
	if c.Joins {
		// A joining server gets the certificate authorities from the live servers, and the
		// cluster has its initial content already.
		cfg.K3s.Init, cfg.K3s.CA, cfg.K3s.Seed = false, nil, node.Seed{}
	}
	if c.Restore != nil {
		cfg.K3s.Seed = seed.After(cfg.K3s.Seed, *c.Restore)
	}
	return cfg, nil
}

// keyRoom is more than the size of any of Headscale's keys, in bytes.
const keyRoom = 128

// Fits says why a card's node.yaml would not fit. It is called before anything is given up
// for the new card.
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

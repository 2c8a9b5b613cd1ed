package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// nodeCards are the flags of "flash --node".
type nodeCards struct {
	names        []string
	fleet, image string
	inputs       inputFlags
	yes          bool
	// hint is how to name a device, "" for the form of "flash".
	hint string
	// joins is true for cards that replace a dead node.
	joins bool
}

func (n *nodeCards) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&n.names, "node", nil, "NODE or NODE=DEVICE: write the card of this node of the fleet (repeatable)")
	_ = cmd.RegisterFlagCompletionFunc("node", completeNodes)
	fleetFlag(cmd, &n.fleet)
	cmd.Flags().StringVar(&n.image, "image", "", "with --node: write this image instead of building one")
	yesFlag(cmd, &n.yes, "with --node: do not ask for the device's name")
	n.inputs.add(cmd.Flags(), "with --node: ")
}

// alone adds the flags of commands that only write the cards of nodes.
func (n *nodeCards) alone(cmd *cobra.Command, opt *flash.Options, quiet *bool) {
	fleetFlag(cmd, &n.fleet)
	cmd.Flags().StringVar(&n.image, "image", "", "write this image instead of building one")
	n.inputs.add(cmd.Flags(), "as for 'build': ")
	yesFlag(cmd, &n.yes, "do not ask")
	cmd.Flags().BoolVar(&opt.Force, "force", false, "also write to a built-in disk, or over any file")
	cmd.Flags().BoolVarP(quiet, "quiet", "q", false, "no progress")
}

// check refuses flags for building that are wrong, or given if no image is built.
func (n *nodeCards) check(cmd *cobra.Command) error {
	if name := n.inputs.given(cmd.Flags()); n.image != "" && name != "" {
		return usagef("--image is written as it is: %s only goes with an image that is built", name)
	}
	_, err := n.inputs.overrides(nil)
	return err
}

func (n *nodeCards) flash(cmd *cobra.Command, args []string, quiet bool, opt flash.Options) error {
	if err := n.check(cmd); err != nil {
		return err
	}
	f, err := loadFleet(n.fleet)
	if err != nil {
		return err
	}
	if err := n.known(f); err != nil {
		return err
	}
	client, err := n.client(f)
	if err != nil {
		return err
	}
	cards, err := n.cards(cmd, f, args, opt.Force)
	if err != nil {
		return err
	}
	if err := n.images(cmd, f, cards, quiet); err != nil {
		return err
	}
	_, err = writeAll(cmd, f, client, cards, quiet, opt)
	return err
}

// known refuses unknown nodes and a missing image.
func (n *nodeCards) known(f *fleet.Fleet) error {
	for _, word := range n.names {
		name, _, _ := strings.Cut(word, "=")
		if _, err := f.Find(name); err != nil {
			return err
		}
	}
	if n.image == "" {
		return nil
	}
	if _, err := os.Stat(n.image); err != nil {
		return fileOf("--image", err)
	}
	return nil
}

// client is the client that makes the keys, nil if no node needs one. Its faults are
// reported before any question, and before a build that takes many minutes.
func (n *nodeCards) client(f *fleet.Fleet) (*headscale.Client, error) {
	for _, word := range n.names {
		if name, _, _ := strings.Cut(word, "="); name != f.Control() {
			return control.Client(f)
		}
	}
	return nil, nil
}

// writeAll makes the keys, writes the cards and prints the result of each. It returns the
// nodes whose cards are good, which may be some even if there is an error.
func writeAll(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client, cards []card.Card, quiet bool, opt flash.Options) (good []string, err error) {
	var m *mint.Mint
	if slices.ContainsFunc(cards, func(c card.Card) bool { return c.Node != f.Control() }) {
		if m, err = mint.Open(f, client); err != nil {
			return nil, err
		}
		defer m.Close()
	}
	u := newUI(cmd, quiet)
	opt.Progress = u
	made, err := writeCards(cmd, f, m, cards, opt)
	u.close()
	var written []*flash.Result
	for i, w := range made {
		if w != nil {
			err = errors.Join(err, printCard(cmd, cards[i], w))
			written, good = append(written, w.Result), append(good, cards[i].Node)
		}
	}
	if quiet {
		return good, err
	}
	return good, errors.Join(err, tellChecklists(cmd.ErrOrStderr(), f.Board, written...))
}

// cards finds out which node's card goes where, and asks for missing targets. Before that it
// checks that the fleet has everything for the cards, and that this fits onto them.
func (n *nodeCards) cards(cmd *cobra.Command, f *fleet.Fleet, args []string, force bool) ([]card.Card, error) {
	if len(args) > 1 || len(args) == 1 && len(n.names) > 1 {
		return nil, usagef("an argument names the device of one node: 'flash --node NODE DEVICE'; for several nodes: --node NODE=DEVICE for each")
	}
	for _, word := range n.names {
		name, _, _ := strings.Cut(word, "=")
		if err := card.Fits(f, card.Card{Node: name, Joins: n.joins}); err != nil {
			return nil, err
		}
	}
	ask := asker{cmd: cmd, yes: n.yes, force: force, hint: n.hint}
	var out []card.Card
	for _, word := range n.names {
		name, target, _ := strings.Cut(word, "=")
		if len(args) == 1 {
			target = args[0]
		}
		next, err := ask.card(name, target)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(c card.Card) bool {
			return c.Node == name || filepath.Clean(c.Target) == filepath.Clean(next.Target)
		}) {
			return nil, usagef("--node: %s or %s is named twice", name, next.Target)
		}
		next.Image, next.Joins = n.image, n.joins
		out = append(out, next)
	}
	return out, nil
}

// images builds the images for the cards, unless one was given.
func (n *nodeCards) images(cmd *cobra.Command, f *fleet.Fleet, cards []card.Card, quiet bool) error {
	if n.image != "" {
		return nil
	}
	var wanted []nodeImage
	for _, c := range cards {
		of, err := f.Find(c.Node)
		if err != nil {
			return err
		}
		wanted = append(wanted, nodeImage{of.Board, of.Board, of.Role.Controls()})
	}
	files, err := (&nodeImages{fleet: f, quiet: quiet, inputs: n.inputs}).build(cmd, wanted)
	for i, file := range files {
		cards[i].Image = file
	}
	return err
}

// writeCards writes all cards at the same time. If one fails, the others continue.
func writeCards(cmd *cobra.Command, f *fleet.Fleet, m *mint.Mint, cards []card.Card, opt flash.Options) ([]*card.Written, error) {
	written, faults := make([]*card.Written, len(cards)), make([]error, len(cards))
	var all sync.WaitGroup
	for i, c := range cards {
		all.Go(func() { written[i], faults[i] = card.Write(cmd.Context(), f, m, c, opt) })
	}
	all.Wait()
	return written, errors.Join(faults...)
}

func printCard(cmd *cobra.Command, c card.Card, written *card.Written) error {
	w := newTable(cmd.OutOrStdout())
	printWritten(w, c.Target, written.Result)
	printNode(w, c.Node, written.Install)
	if written.Key == nil {
		fmt.Fprintf(w, "key\tnone yet: switch the machine on, then run 'imagebuilder headscale init'\n")
		return w.Flush()
	}
	expires := written.Key.Expires.Local().Format("2 January 2006 15:04")
	if written.Key.Replaced {
		expires += "; the unused key that it had is expired now"
	}
	fmt.Fprintf(w, "key\tfor one join, until %s\n", expires)
	return w.Flush()
}

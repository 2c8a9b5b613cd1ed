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

// nodeDevice is a node that gets a card, and the device for it, "" if none was named.
type nodeDevice struct{ node, device string }

// parseNodeDevices parses words that are NODE or NODE=DEVICE.
func parseNodeDevices(words []string) (all []nodeDevice) {
	for _, word := range words {
		node, device, _ := strings.Cut(word, "=")
		all = append(all, nodeDevice{node, device})
	}
	return all
}

// nodeCards writes the cards of nodes, for "flash --node" and other commands.
type nodeCards struct {
	wanted       []nodeDevice
	fleet, image string
	inputs       inputFlags
	yes, quiet   bool
	opt          flash.Options
	// hint is how to name a device, "" for the form of "flash".
	hint string
	// joins is true for cards that replace a dead node.
	joins bool
}

// flags adds the flags of "flash" that go with --node.
func (n *nodeCards) flags(cmd *cobra.Command) {
	fleetFlag(cmd, &n.fleet)
	cmd.Flags().StringVar(&n.image, "image", "", "with --node: write this image instead of building one")
	yesFlag(cmd, &n.yes, "with --node: do not ask for the device's name")
	n.inputs.add(cmd.Flags(), "with --node: ")
}

// alone adds the flags of commands that only write the cards of nodes.
func (n *nodeCards) alone(cmd *cobra.Command) {
	fleetFlag(cmd, &n.fleet)
	cmd.Flags().StringVar(&n.image, "image", "", "write this image instead of building one")
	n.inputs.add(cmd.Flags(), "as for 'build': ")
	yesFlag(cmd, &n.yes, "do not ask")
	cmd.Flags().BoolVar(&n.opt.Force, "force", false, "also write to a built-in disk, or over any file")
	cmd.Flags().BoolVarP(&n.quiet, "quiet", "q", false, "no progress")
}

// check refuses flags for building that are wrong, or given if no image is built.
func (n *nodeCards) check(cmd *cobra.Command) error {
	if name := n.inputs.given(cmd.Flags()); n.image != "" && name != "" {
		return usagef("--image is written as it is: %s only goes with an image that is built", name)
	}
	_, err := n.inputs.overrides(nil)
	return err
}

func (n *nodeCards) flash(cmd *cobra.Command, args []string) error {
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
	if _, err := n.noMembers(cmd.Context(), f, client); err != nil { // a silent Headscale is told later, as much else is easier to mend
		return err
	}
	cards, err := n.cards(cmd, f, args)
	if err != nil {
		return err
	}
	if err := n.images(cmd, f, cards); err != nil {
		return err
	}
	if silent, err := n.noMembers(cmd.Context(), f, client); silent != nil || err != nil { // one may have joined meanwhile
		return errors.Join(silent, err)
	}
	_, err = n.write(cmd, f, client, cards)
	return err
}

// known refuses unknown nodes and a missing image.
func (n *nodeCards) known(f *fleet.Fleet) error {
	for _, w := range n.wanted {
		if _, err := f.Find(w.node); err != nil {
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
	if slices.ContainsFunc(n.wanted, func(w nodeDevice) bool { return w.node != f.Control() }) {
		return control.Client(f)
	}
	return nil, nil
}

// write makes the keys, writes the cards and prints the result of each. It returns the
// nodes whose cards are good, which may be some even if there is an error.
func (n *nodeCards) write(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client, cards []card.Card) (good []string, err error) {
	var m *mint.Mint
	if slices.ContainsFunc(cards, func(c card.Card) bool { return c.Node != f.Control() }) {
		if m, err = mint.Open(f, client); err != nil {
			return nil, err
		}
		defer m.Close()
	}
	u, opt := newUI(cmd, n.quiet), n.opt
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
	if n.quiet {
		return good, err
	}
	return good, errors.Join(err, tellChecklists(cmd.ErrOrStderr(), f.Board, written...))
}

// cards finds out which node's card goes where, and asks for missing targets. Before that it
// checks that the fleet has everything for the cards, and that this fits onto them.
func (n *nodeCards) cards(cmd *cobra.Command, f *fleet.Fleet, args []string) ([]card.Card, error) {
	if len(args) > 1 || len(args) == 1 && len(n.wanted) > 1 {
		return nil, usagef("an argument names the device of one node: 'flash --node NODE DEVICE'; for several nodes: --node NODE=DEVICE for each")
	}
	for _, w := range n.wanted {
		if err := card.Fits(f, card.Card{Node: w.node, Joins: n.joins}); err != nil {
			return nil, err
		}
	}
	ask := asker{cmd: cmd, yes: n.yes, force: n.opt.Force, hint: n.hint}
	var out []card.Card
	for _, w := range n.wanted {
		if len(args) == 1 {
			w.device = args[0]
		}
		next, err := ask.card(w.node, w.device)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(c card.Card) bool {
			return c.Node == w.node || filepath.Clean(c.Target) == filepath.Clean(next.Target)
		}) {
			return nil, usagef("--node: %s or %s is named twice", w.node, next.Target)
		}
		next.Image, next.Joins = n.image, n.joins
		out = append(out, next)
	}
	return out, nil
}

// images builds the images for the cards, unless one was given.
func (n *nodeCards) images(cmd *cobra.Command, f *fleet.Fleet, cards []card.Card) error {
	if n.image != "" {
		return nil
	}
	var images []nodeImage
	for _, c := range cards {
		of, err := f.Find(c.Node)
		if err != nil {
			return err
		}
		images = append(images, nodeImage{of.Board, of.Board, of.Role.Controls()})
	}
	files, err := (&nodeImages{fleet: f, quiet: n.quiet, inputs: n.inputs}).build(cmd, images)
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

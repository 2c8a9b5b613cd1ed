package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/replace"
)

const replaceHelp = `Make the card of a node that takes the place of a dead one. First the command
removes what the dead node left behind, because the new one would be turned away
otherwise:

  - its node in Kubernetes; k3s thereby takes a server or witness out of etcd, too
  - the Secret with the password of its name
  - its membership in the tailnet
  - Longhorn's record of it, because of which Longhorn would refuse another disk

Longhorn's record stays if a volume has no other healthy replica. The command says
which volume that is, and what to do.

Then the command makes a key and writes the card, as "flash --node" does, with
the same flags for the image. The new node joins the existing cluster and never
creates one, whichever node it replaces.

Before anything is removed, the command shows it, and asks unless --yes is given.
Refused are

  - a node that is online according to Headscale, or ready according to Kubernetes:
    switch it off first, and wait a minute
  - the cluster's only server: without it there is no cluster to join

If the command fails on its way, run it again: it skips what is done.

The command opens the cluster's API with a certificate that is made on this
computer, at the names and addresses of the other servers in the tailnet. If the
cluster's authorities are not the fleet's, kubectl has to do that part. The command
says how.`

// replaceFlags are the flags of "replace".
type replaceFlags struct {
	cards nodeCards
	opt   replace.Options
}

func newReplace() *cobra.Command {
	var r replaceFlags
	cmd := &cobra.Command{
		Use:   "replace NODE [DEVICE]",
		Short: "Make a card that takes a dead node's place",
		Long:  replaceHelp,
		Example: `  imagebuilder replace cabin-pi
  imagebuilder replace cabin-pi /dev/sdb --yes
  imagebuilder replace cabin-pi /dev/sdb --even-if-online   # it was switched off a minute ago`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeNode(cobra.ShellCompDirectiveDefault), // a device or a file
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd, args) },
	}
	r.cards.alone(cmd)
	cmd.Flags().BoolVar(&r.opt.EvenIfOnline, "even-if-online", false, "replace the node even if Headscale calls it online, or Kubernetes ready")
	cmd.Flags().BoolVar(&r.opt.ByHand, "cluster-done", false, "skip the cluster: the node was removed from it with kubectl")
	cmd.Flags().StringVar(&r.opt.API, "api", "", "HOST:PORT where a server's API answers (default: the servers' addresses in the tailnet)")
	return cmd
}

func (r *replaceFlags) run(cmd *cobra.Command, args []string) error {
	if err := r.cards.check(cmd); err != nil {
		return err
	}
	f, err := loadFleet(r.cards.fleet)
	if err != nil {
		return err
	}
	r.cards.wanted, r.cards.hint, r.cards.joins = []nodeDevice{{node: args[0]}}, "'imagebuilder replace "+args[0]+" DEVICE'", true
	if err := r.cards.known(f); err != nil {
		return err
	}
	client, err := control.Client(f)
	if err != nil {
		return err
	}
	leave, err := replace.Prepare(cmd.Context(), f, client, args[0], r.opt)
	if err != nil {
		return err
	}
	cards, err := r.cards.cards(cmd, f, args[1:])
	if err != nil {
		return err
	}
	if err := r.agree(cmd, leave, cards[0]); err != nil { // before a build that takes many minutes
		return err
	}
	if err := r.cards.images(cmd, f, cards); err != nil {
		return err
	}
	return r.replace(cmd, f, client, leave, cards)
}

// agree shows what will be done, and asks for consent.
func (r *replaceFlags) agree(cmd *cobra.Command, leave *replace.Leave, c card.Card) error {
	out := cmd.ErrOrStderr()
	fmt.Fprintf(out, "To replace %s:\n", c.Node)
	for i, s := range append(leave.Steps(), "write the card of the new one, which joins the existing cluster, to "+c.Target) {
		fmt.Fprintf(out, "  %d. %s\n", i+1, s)
	}
	if advice := leave.Advice(); advice != "" {
		fmt.Fprintln(out, advice)
	}
	if r.cards.yes {
		return nil
	}
	return typed(cmd, "the node's name", c.Node)
}

func (r *replaceFlags) replace(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client, leave *replace.Leave, cards []card.Card) error {
	name := cards[0].Node
	err := leave.Do(cmd.Context())
	var remains *replace.Remains
	if errors.As(err, &remains) && cmd.Context().Err() == nil { // the new one may join, and its card be written
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+printable(remains.Error()))
	} else if err != nil {
		return fmt.Errorf("%s is not yet forgotten, do it again: %w", name, err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "the old %s is forgotten; next, the card of the new one\n", name) // so that a user who interrupts after this knows
	if _, err := r.cards.write(cmd, f, client, cards); err != nil {
		return fmt.Errorf("the old %s is forgotten; do it again for its card: %w", name, err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "replaced  %s; never switch the old one on again\n", name)
	return err
}

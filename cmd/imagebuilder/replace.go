package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/replace"
)

const replaceHelp = `Make a card that takes the place of a node that is dead. What the dead one left
behind is removed first, or the new one would be turned away: Kubernetes' node
(by which k3s takes a server out of etcd, too), the Secret with the password of
its name, the member of the tailnet, and Longhorn's record of it, by which it would
refuse another disk. That stays where a volume has no other healthy replica: the
command says which, and what to do. Then a key is made and the card written,
as by "flash --node", whose --lock, --locked, --strict and --registry-mirror hold
here, too. It joins the cluster that there is and never creates one, whichever node it
replaces.

Before anything is removed it is shown and, unless --yes, asked for. A node that
Headscale calls online, or Kubernetes ready, is not replaced: switch it off first, and
wait a minute. If the command fails
on its way, do it again: what is done is left out.

The cluster's API is opened with a certificate made at home, at the names and
addresses of the other servers in the tailnet. Where the cluster's authorities are
not the fleet's, kubectl has to do that part; the command says how.`

// replaceFlags are the flags of "replace".
type replaceFlags struct {
	cards nodeCards
	opt   replace.Options
	flash flash.Options
	quiet bool
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
	r.cards.alone(cmd, &r.flash, &r.quiet)
	cmd.Flags().BoolVar(&r.opt.EvenIfOnline, "even-if-online", false, "replace a node that Headscale calls online, or Kubernetes ready")
	cmd.Flags().BoolVar(&r.opt.ByHand, "cluster-done", false, "the cluster has forgotten the node by kubectl")
	cmd.Flags().StringVar(&r.opt.API, "api", "", "HOST:PORT: where a server's API answers, if not where the tailnet leads")
	return cmd
}

func (r *replaceFlags) run(cmd *cobra.Command, args []string) error {
	if err := r.cards.check(); err != nil {
		return err
	}
	f, err := loadFleet(r.cards.fleet)
	if err != nil {
		return err
	}
	r.cards.names, r.cards.hint, r.cards.joins = args[:1], "'imagebuilder replace "+args[0]+" DEVICE'", true
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
	cards, err := r.cards.cards(cmd, f, args[1:], r.flash.Force)
	if err != nil {
		return err
	}
	if err := r.agree(cmd, leave, cards[0]); err != nil { // before a build that takes many minutes
		return err
	}
	if err := r.cards.images(cmd, f, cards, r.quiet); err != nil {
		return err
	}
	return r.replace(cmd, f, client, leave, cards)
}

// agree shows what will be done, and asks for consent.
func (r *replaceFlags) agree(cmd *cobra.Command, leave *replace.Leave, c card.Card) error {
	out := cmd.ErrOrStderr()
	fmt.Fprintf(out, "To replace %s:\n", c.Node)
	for i, s := range append(leave.Steps(), "write its card, of one that joins what there is, to "+c.Target) {
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

// typed asks a person to consent by typing a name. Without a terminal it is an error.
func typed(cmd *cobra.Command, what, name string) error {
	if !atTerminal() {
		return usagef("nothing was done: say --yes")
	}
	return agreed(cmd, what, name)
}

// agreed is typed without the check for a terminal.
func agreed(cmd *cobra.Command, what, name string) error {
	answer, err := ask(cmd.Context(), cmd, "Type "+what+" to do it: ")
	if err != nil {
		return err
	}
	if answer != name {
		return fmt.Errorf("that is not %s: nothing was done", name)
	}
	return nil
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
	fmt.Fprintf(cmd.ErrOrStderr(), "the old %s is forgotten; now its card\n", name) // so that a user who interrupts after this knows
	if err := writeAll(cmd, f, client, cards, r.quiet, r.flash); err != nil {
		return fmt.Errorf("the old %s is forgotten; do it again for its card: %w", name, err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "replaced  %s; never switch the old one on again\n", name)
	return err
}

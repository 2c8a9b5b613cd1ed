package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/resurrect"
	"github.com/going-mobile/imagebuilder/image/vps"
)

const resurrectHelp = `Rebuild a cluster that has lost all its machines: from fleet.yaml, the secrets
beside it, and the buckets that it names.

The new cluster has the names, authorities and tokens of the old one, so kubeconfigs
stay valid. Longhorn restores its volumes and the claims on them from its newest
system backup. When all of them are there, Argo CD begins with what Git has.

With --plan the command only prints what is to be done, with the dates of the
backups. Without --plan it does the following:

  1. It prints the plan, and asks unless --yes is given.
  2. It removes the lost nodes from the tailnet.
  3. It writes the cards of the nodes that are named. In the first run, the node
     that creates the cluster must be one of them. The other cards are written in
     the same run, or later by "flash --node".

If a node is online, the cluster is not lost, and nothing is done. If the fleet's
own Headscale is lost as well, its machine comes first and restores its database
from its bucket. The plan says how.

What was only in etcd is lost: objects that are neither in Git nor in fleet.yaml,
and that are not Longhorn's.`

// resurrectFlags are the flags of "resurrect".
type resurrectFlags struct {
	cards nodeCards
	opt   resurrect.Options
	vps   string
	plan  bool
}

func newResurrect() *cobra.Command {
	var r resurrectFlags
	cmd := &cobra.Command{
		Use:   "resurrect [NODE[=DEVICE]...]",
		Short: "Rebuild a cluster that has lost all its machines",
		Long:  resurrectHelp,
		Example: `  imagebuilder resurrect --plan
  imagebuilder resurrect home-pi=/dev/sdb cabin-pi=/dev/sdc --yes
  imagebuilder resurrect home-pi=/dev/sdb --system-backup system-n-6f1c0a52-7d34-4f0e-9c53-0b1a2c3d4e5f`,
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.cards.wanted = parseNodeDevices(args)
			return r.run(cmd)
		},
	}
	r.cards.alone(cmd)
	cmd.Flags().BoolVar(&r.plan, "plan", false, "only print what is to be done")
	cmd.Flags().StringVar(&r.opt.SystemBackup, "system-backup", "", "restore the volumes of this system backup, not of the newest one")
	cmd.Flags().BoolVar(&r.opt.WithoutVolumes, "without-volumes", false, "restore no volumes")
	cmd.Flags().BoolVar(&r.opt.EvenIfOnline, "even-if-online", false, "go on even if Headscale calls a node online")
	cmd.Flags().StringVar(&r.vps, "ssh", "", "HOST or HOST:PORT of the machine with Headscale (default: where its name leads)")
	return cmd
}

func (r *resurrectFlags) run(cmd *cobra.Command) error {
	if err := r.cards.check(cmd); err != nil {
		return err
	}
	if !r.plan && len(r.cards.wanted) == 0 {
		return usagef("name the nodes whose cards are to be written now, NODE or NODE=DEVICE, or say --plan")
	}
	f, err := loadFleet(r.cards.fleet)
	if err != nil {
		return err
	}
	if err := r.cards.known(f); err != nil {
		return err
	}
	client, err := control.Client(f)
	if err != nil {
		return err
	}
	rising, err := resurrect.Prepare(cmd.Context(), f, client, r.opt)
	if err != nil {
		return err
	}
	if r.plan {
		warn(cmd, rising)
		return printRunbook(cmd.OutOrStdout(), rising)
	}
	return r.rise(cmd, f, client, rising)
}

func warn(cmd *cobra.Command, rising *resurrect.Rising) {
	for _, t := range rising.Told {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+t)
	}
}

func printRunbook(out io.Writer, rising *resurrect.Rising) error {
	steps, err := rising.Runbook()
	if err != nil {
		return err
	}
	for i, s := range steps {
		fmt.Fprintf(out, "%2d. %s\n", i+1, s)
	}
	for _, a := range rising.Advice() {
		fmt.Fprintln(out, a)
	}
	return nil
}

func (r *resurrectFlags) rise(cmd *cobra.Command, f *fleet.Fleet, client *headscale.Client, rising *resurrect.Rising) error {
	if err := rising.Ready(); err != nil {
		return err
	}
	cards, err := r.cards.cards(cmd, f, nil)
	if err != nil {
		return err
	}
	creates := slices.IndexFunc(cards, func(c card.Card) bool { return c.Node == rising.Creator() })
	if creates < 0 {
		return usagef("%s creates the cluster: its card is written first, or with the others", rising.Creator())
	}
	warn(cmd, rising)
	cards[creates].Restore = rising.Restore()
	if err := fits(f, cards[creates]); err != nil {
		return err
	}
	if err := r.agree(cmd, f, rising); err != nil { // before a build that takes many minutes
		return err
	}
	if err := r.cards.images(cmd, f, cards); err != nil {
		return err
	}
	if err := r.forget(cmd, f, rising); err != nil {
		return fmt.Errorf("the lost nodes are not all forgotten, do it again: %w", err)
	}
	written, err := r.cards.write(cmd, f, client, cards)
	if err != nil {
		return cardsLeft(rising.Creator(), nodesOf(cards), written, rising.Missing(written), err)
	}
	if missing := rising.Missing(nodesOf(cards)); len(missing) > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "still to be written: imagebuilder flash --node "+strings.Join(missing, " --node "))
	}
	return nil
}

// cardsLeft says what is to be done after a fault with cards, by those that were to be
// written, those that are, and those that the cluster's nodes still lack: this command is
// for the card of the creator alone.
func cardsLeft(creator string, named, written, missing []string, err error) error {
	good := ""
	if len(written) > 0 {
		good = ", and these cards are good: " + strings.Join(written, ", ")
	}
	switch {
	case !slices.Contains(written, creator):
		again := slices.DeleteFunc(slices.Clone(named), func(name string) bool { return slices.Contains(written, name) })
		return fmt.Errorf("the lost nodes are forgotten%s; do it again for %s: %w", good, strings.Join(again, ", "), err)
	case len(missing) == 0:
		return fmt.Errorf("the lost nodes are forgotten, and all cards are written, but: %w", err)
	}
	return fmt.Errorf("the lost nodes are forgotten%s; still to be written: imagebuilder flash --node %s: %w", good, strings.Join(missing, " --node "), err)
}

// fits refuses, before anything is removed, more claims than fit onto a card.
func fits(f *fleet.Fleet, c card.Card) error {
	err := card.Fits(f, c)
	if errors.Is(err, node.ErrTooLong) && c.Restore != nil {
		return fmt.Errorf("%w; %d claims on volumes are among it, which --without-volumes leaves out: those volumes are yours to restore then, in Longhorn", err, len(c.Restore.Claims))
	}
	return err
}

func nodesOf(cards []card.Card) (names []string) {
	for _, c := range cards {
		names = append(names, c.Node)
	}
	return names
}

// agree shows what will be done, and asks for consent.
func (r *resurrectFlags) agree(cmd *cobra.Command, f *fleet.Fleet, rising *resurrect.Rising) error {
	out := cmd.ErrOrStderr()
	fmt.Fprintf(out, "To rebuild %s:\n", f.Cluster.Name)
	if err := printRunbook(out, rising); err != nil || r.cards.yes {
		return err
	}
	return typed(cmd, "the cluster's name", f.Cluster.Name)
}

// forget removes the lost nodes from the tailnet, and their cluster from a witness that
// still runs.
func (r *resurrectFlags) forget(cmd *cobra.Command, f *fleet.Fleet, rising *resurrect.Rising) error {
	if err := rising.Forget(cmd.Context()); err != nil {
		return err
	}
	if rising.Witness() == "" {
		return nil
	}
	at, err := vps.Find(f, r.vps, "--ssh")
	if err != nil {
		return err
	}
	_, err = vps.Ask(cmd.Context(), f, at, resurrect.ForgetVote, nil)
	return err
}

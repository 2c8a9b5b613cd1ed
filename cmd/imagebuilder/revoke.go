package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/revoke"
	"github.com/going-mobile/imagebuilder/image/shares"
)

const revokeHelp = `Shut out a node that is in the wrong hands. This happens in the following order:

  1. The nodes that keep a share of the key for its data (storage: {encrypt: true})
     refuse it for ever, from wherever it asks.
  2. Its unused keys expire, such as the key of a card that was lost on its way. So
     do unused keys with its tags that secrets/keys.json does not know.
  3. Headscale deletes it, so it reaches no other node.
  4. The node in Kubernetes, its vote in etcd and the Secret with its password are
     deleted, as by "replace".

Whatever fails, the command does all that can be done. If Headscale does not answer,
the command still tells the machine that runs it, at that machine's own address, to
refuse the node.

The command says what is left to do, for example at nodes that keep a share and were
away, and how to tell those by hand. Run it again for what is left. secrets/revoked
records who was shut out, so a repeated run leaves a new machine of the same name
alone.

At the end the command says what the thief may have read, and what to change because
of that. It changes no token by itself.

A revocation cannot be undone, and the node that runs Headscale is refused. A new
card of the same name is for another machine: make it with "replace". If that
machine, or the card on its way there, is stolen as well, say --again.`

func newRevoke() *cobra.Command {
	var name string
	var yes bool
	var opt revoke.Options
	cmd := &cobra.Command{
		Use:   "revoke NODE",
		Short: "Shut out a stolen node for ever",
		Long:  revokeHelp,
		Example: `  imagebuilder revoke cabin-pi
  imagebuilder revoke cabin-pi --yes --cluster-done   # the cluster has forgotten it by kubectl`,
		Args:              exactArgs("NODE"),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := loadFleet(name)
			if err != nil {
				return err
			}
			if _, err := f.Find(args[0]); err != nil {
				return formerNode(f, args[0], err)
			}
			client, rows, silent, err := known(cmd.Context(), f)
			if err != nil {
				return err
			}
			var server revoke.Server = client
			if silent != nil {
				server = revoke.Silent{Why: silent}
			}
			holders, err := shares.Of(f, rows, args[0])
			if err != nil {
				return err
			}
			order, err := revoke.Prepare(cmd.Context(), f, server, holders, args[0], opt)
			if err != nil {
				return err
			}
			return carryOut(cmd, order, args[0], yes)
		},
	}
	fleetFlag(cmd, &name)
	yesFlag(cmd, &yes, "do not ask")
	cmd.Flags().BoolVar(&opt.Again, "again", false, "the machine that has had the name since the last revocation, or its card, is in the wrong hands, too")
	cmd.Flags().BoolVar(&opt.Cluster.ByHand, "cluster-done", false, "skip the cluster: the node was removed from it with kubectl")
	cmd.Flags().StringVar(&opt.Cluster.API, "api", "", "HOST:PORT where a server's API answers (default: the servers' addresses in the tailnet)")
	return cmd
}

// formerNode says what to do about a node that is not in the fleet's file any more, as an
// owner may take out its line first. unknown is the error otherwise.
func formerNode(f *fleet.Fleet, name string, unknown error) error {
	made, err := mint.Keys(f)
	if err != nil || len(made[name]) == 0 {
		return unknown
	}
	return fmt.Errorf("%w (but keys were made for %s, which was in fleet.yaml then: put its line back there until it is revoked)", unknown, name)
}

func carryOut(cmd *cobra.Command, order *revoke.Order, name string, yes bool) error {
	out := cmd.ErrOrStderr()
	fmt.Fprintf(out, "To revoke %s for ever:\n", name)
	for i, s := range order.Steps() {
		fmt.Fprintf(out, "  %d. %s\n", i+1, printable(s))
	}
	if !yes {
		if err := typed(cmd, "the node's name", name); err != nil {
			return err
		}
	}
	failed := order.Do(cmd.Context())
	fmt.Fprintln(out, "Whoever has its disk could read:")
	for _, s := range order.Advice() {
		fmt.Fprintln(out, "  - "+s)
	}
	if failed != nil {
		return fmt.Errorf("%s is not wholly revoked yet, do it again: %w", name, failed)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "revoked  %s\n", name)
	return err
}

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/replace"
	"github.com/going-mobile/imagebuilder/image/revoke"
)

const revokeHelp = `Shut out a node that is in other hands. In this order: the nodes that keep a share of
the key for its data (storage: {encrypt: true}) refuse it for ever, from wherever it
asks; Headscale forgets it, so that it reaches no other node; Kubernetes' node, its vote
in etcd and the Secret with its password are deleted, as by "replace".

All that can be done is done, whatever fails, and the command says what is left: do it
again for that, also for those that keep a share and were away. At the end it says what
the thief may have read, and what to change therefore; it changes no token by itself.

It cannot be undone. A new card of the same name is another machine: "replace".`

func newRevoke() *cobra.Command {
	var name string
	var yes bool
	var opt replace.Options
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
			client, holders, err := holdersOf(cmd, f, args[0])
			if err != nil {
				return err
			}
			order, err := revoke.Prepare(cmd.Context(), f, client, holders, args[0], opt)
			if err != nil {
				return err
			}
			return carryOut(cmd, order, args[0], yes)
		},
	}
	fleetFlag(cmd, &name)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&opt.ByHand, "cluster-done", false, "the cluster has forgotten the node by kubectl")
	cmd.Flags().StringVar(&opt.API, "api", "", "HOST:PORT: where a server's API answers, if not where the tailnet leads")
	return cmd
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
	fmt.Fprintln(out, "Who has its disk could read:")
	for _, s := range order.Advice() {
		fmt.Fprintln(out, "  - "+s)
	}
	if failed != nil {
		return fmt.Errorf("%s is not wholly revoked yet, do it again: %w", name, failed)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "revoked  %s\n", name)
	return err
}

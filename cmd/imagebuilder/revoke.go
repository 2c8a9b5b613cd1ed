package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/revoke"
	"github.com/going-mobile/imagebuilder/image/roster"
	"github.com/going-mobile/imagebuilder/image/shares"
)

const revokeHelp = `Shut out a node that is in other hands. In this order: the nodes that keep a share of
the key for its data (storage: {encrypt: true}) refuse it for ever, from wherever it
asks; keys that were made for it and not used expire, as that of a card which is lost on
its way, and any with its tags that secrets/keys.json does not know; Headscale forgets
it, so that it reaches no other node; Kubernetes' node, its vote in etcd and the Secret
with its password are deleted, as by "replace".

All that can be done is done, whatever fails, also where Headscale does not answer: then
the machine that runs it is told at its own address. The command says what is left: do it
again for that, also for those that keep a share and were away; how to tell them by hand
it says, too. Who is shut out is noted in secrets/revoked: a new machine of the name is
left alone when it is done again. At the end it says what the thief may have read, and
what to change therefore; it changes no token by itself.

It cannot be undone. A new card of the same name is another machine: "replace". If that
one is stolen as well: --again.`

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
			server, rows, err := known(cmd.Context(), f)
			if err != nil {
				return err
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
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&opt.Again, "again", false, "who has the name since the last revocation is in other hands, too")
	cmd.Flags().BoolVar(&opt.Cluster.ByHand, "cluster-done", false, "the cluster has forgotten the node by kubectl")
	cmd.Flags().StringVar(&opt.Cluster.API, "api", "", "HOST:PORT: where a server's API answers, if not where the tailnet leads")
	return cmd
}

// known asks Headscale for its nodes. If Headscale does not answer, the holders can still be
// told, so that is no error. A local file that may not be read is an error: it is easily
// fixed, and says nothing about Headscale.
func known(ctx context.Context, f *fleet.Fleet) (revoke.Server, []roster.Row, error) {
	client, rows, err := members(ctx, f)
	if notReadable(err) {
		return nil, nil, fmt.Errorf("nothing is done yet: a file of the fleet is not yours to read, as after a run with sudo (sudo chown -R $USER %s): %w", filepath.Join(f.Dir(), fleet.SecretsDir), err)
	}
	if err != nil {
		return revoke.Silent{Why: err}, nil, nil
	}
	return client, rows, nil
}

// notReadable is about files only: a firewall that blocks a connection causes EPERM, too.
func notReadable(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && errors.Is(file, fs.ErrPermission)
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

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/revoke"
	"github.com/going-mobile/imagebuilder/image/shares"
)

const unlockHelp = `Agree to a node that waits for its share of the key: its data are encrypted
(storage: {encrypt: true}), and it asks from an address where it never was, or is seen
by nobody but a relay, or has joined the tailnet anew. Or its own share is sealed by a
TPM, which does not give it back: the firmware, Secure Boot or its keys were changed, or
the disk is in another machine. The screen of the node says which.

The nodes at other sites that keep its share are asked over ssh, as by "status"; where
Headscale does not answer, the machine that runs it alone. What they say is shown, and
asked for unless --yes: do you know why it is there? Then one of them agrees, once, for an
hour, to what was shown and nothing else; the address counts as one of the node's own from
then on. A TPM that works seals anew what is there then. Who has not asked for ten minutes
waits no more.`

func newUnlock() *cobra.Command {
	var name string
	var yes bool
	cmd := &cobra.Command{
		Use:               "unlock NODE",
		Short:             "Agree to an encrypted node that asks from elsewhere, or whose TPM refuses",
		Long:              unlockHelp,
		Example:           `  imagebuilder unlock cabin-pi`,
		Args:              exactArgs("NODE"),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := loadFleet(name)
			if err != nil {
				return err
			}
			if err := checkEncrypted(f, args[0]); err != nil {
				return err
			}
			holders, err := holdersOf(cmd, f, args[0])
			if err != nil {
				return err
			}
			return unlock(cmd, holders, args[0], yes)
		},
	}
	fleetFlag(cmd, &name)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// checkEncrypted refuses a node that is not encrypted.
func checkEncrypted(f *fleet.Fleet, name string) error {
	if _, err := f.Find(name); err != nil {
		return err
	}
	if !f.Encrypts(name) {
		return fmt.Errorf("%s: %s is not encrypted (storage: {encrypt: true}): it waits for no key", f.Place(name), name)
	}
	return nil
}

// holdersOf finds the holders of a node's share. If Headscale does not answer, only the
// machine that runs it can be reached, by its public name.
func holdersOf(cmd *cobra.Command, f *fleet.Fleet, name string) (*shares.Holders, error) {
	server, rows, err := known(cmd.Context(), f)
	if err != nil {
		return nil, err
	}
	if silent, ok := server.(revoke.Silent); ok {
		if f.Control() == "" {
			return nil, silent.Why
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Headscale cannot be asked where nodes are, so that only %s is: %s\n", f.Control(), printable(silent.Why.Error()))
	}
	return shares.Of(f, rows, name)
}

func unlock(cmd *cobra.Command, holders *shares.Holders, name string, yes bool) error {
	shown := holders.Waiting(cmd.Context())
	for _, a := range shown {
		fmt.Fprintln(cmd.ErrOrStderr(), printable(a.String()))
	}
	if err := holders.CheckWaits(shown); err != nil {
		return err
	}
	if !yes {
		if err := typed(cmd, "the node's name", name); err != nil {
			return err
		}
	}
	agreed, err := holders.Unlock(cmd.Context(), shown)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "unlocked  %s: %s will give it its share\n", name, agreed)
	return err
}

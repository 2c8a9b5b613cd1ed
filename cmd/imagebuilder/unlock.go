package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/shares"
)

const unlockHelp = `Agree to the request of an encrypted node (storage: {encrypt: true}) that waits for
its share of the key. A node waits for its owner if one of these is true:

  - It asks from an address where it never was.
  - It is seen only through a relay, so nobody knows where it is.
  - It has joined the tailnet anew.
  - Its own share is sealed by a TPM, which does not give it back: the firmware,
    Secure Boot or its keys were changed, or the disk is in another machine.

The node's screen says which one it is.

The command asks the nodes at other sites that keep the share, over ssh, as "status"
does. If Headscale does not answer, it asks only the machine that runs Headscale. It
shows what they say, and asks unless --yes is given: do you know why the node is
there?

Then one of these nodes agrees. The agreement is good once, for an hour, and for
nothing but what was shown. From then on the address counts as one of the node's
own. A TPM that works then seals the share anew, for the machine as it is.

A node that has not asked for ten minutes does not wait any more.`

func newUnlock() *cobra.Command {
	var name string
	var yes bool
	cmd := &cobra.Command{
		Use:               "unlock NODE",
		Short:             "Let in an encrypted node that asks from elsewhere, or whose TPM refuses",
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
	yesFlag(cmd, &yes, "do not ask")
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
	_, rows, silent, err := known(cmd.Context(), f)
	if err != nil {
		return nil, err
	}
	if silent != nil {
		if f.Control() == "" {
			return nil, silent
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Headscale does not say where the nodes are, so only %s can be asked: %s\n", f.Control(), printable(silent.Error()))
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

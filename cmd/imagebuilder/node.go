package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/owner"
)

func newNode() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Work with a node's node.yaml, which is its identity, and with its card",
	}
	cmd.AddCommand(newNodeCheck(), newNodeKeygen(), newNodeSign(), newNodeRead(), newNodeWrite(), newNodeStatus(), newNodeRepair())
	return cmd
}

func newNodeCheck() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Check the node.yaml of a node, or of several nodes of one cluster",
		Long: `Check a node.yaml as the node itself will, and warn of settings that are valid but
likely to cause trouble. The command also says what a node that has joined would
accept from the file.

A mistake is reported with its line and field. A mistake, or a signature that does
not fit, gives exit code 1.

Several files are taken as nodes of one cluster. The servers among them must agree
on etcd's timings, networks, tokens, and whatever else must be equal for k3s.`,
		Example: `  imagebuilder node check secrets/cabin-pi.yaml
  imagebuilder node check secrets/home-pi.yaml secrets/cabin-pi.yaml secrets/vps.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("'%s' takes at least one FILE", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var cluster []node.Named
			var taken []string
			for _, file := range args {
				config, data, err := loadNode(file)
				if err != nil {
					return err
				}
				what, err := node.Taken(data, config, cmp.Or(key, config.OwnerKey))
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				cluster, taken = append(cluster, node.Named{File: file, Config: config}), append(taken, what)
			}
			if err := node.CheckServers(cluster); err != nil {
				return err
			}
			return tellGood(cmd, cluster, taken)
		},
	}
	cmd.Flags().StringVar(&key, "owner-key", "", "the public key that the node knows, if it is not the ownerKey in the file")
	return cmd
}

// tellGood prints warnings about settings that are valid but likely to cause trouble, and
// says of each file that it is good.
func tellGood(cmd *cobra.Command, nodes []node.Named, taken []string) error {
	for i, n := range nodes {
		for _, warning := range n.Warnings() {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: warning: %s\n", n.File, warning)
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: node %s, site %s, role %s: good\n%s: %s\n", n.File, n.Node, n.Site, n.Role, n.File, taken[i]); err != nil {
			return err
		}
	}
	return nil
}

func newNodeKeygen() *cobra.Command {
	var from password
	var open bool
	cmd := &cobra.Command{
		Use:   "keygen KEYFILE",
		Short: "Make the owner's key pair, for signing node.yaml",
		Long: `Make a key pair in minisign's format. The secret half goes into KEYFILE, encrypted
with a password; the public half goes into KEYFILE.pub. Existing files are not
overwritten.

Put the line that is printed into the first node.yaml of every node. From then on
only a key, tokens and network settings change on a node without a signature.

There is no other copy of the secret half. Without it, nodes that know the public
half must be made anew.`,
		Example: "  imagebuilder node keygen owner.key",
		Args:    exactArgs("KEYFILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			public, err := owner.Generate(args[0], func() (secret.String, error) {
				if open {
					return "", nil
				}
				return from.choose(cmd)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "ownerKey: %s\n", public)
			return err
		},
	}
	from.flag(cmd)
	cmd.Flags().BoolVar(&open, "no-password", false, "do not encrypt the secret half")
	return cmd
}

func newNodeSign() *cobra.Command {
	var from password
	var key string
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEYFILE",
		Short: "Sign a node.yaml, so that a node that has joined accepts all of it",
		Long: `Write the owner's signature below the text of a node.yaml. An existing signature is
replaced. The signature is valid for the node that the file names, and only until
the node has accepted a later one.

KEYFILE comes from 'imagebuilder node keygen' or from minisign. FILE gets mode 0600,
because it contains secrets.

The signature is four lines of comment. They are what minisign -S makes of the text
above them, with "# " before each line.`,
		Example: "  imagebuilder node sign secrets/cabin-pi.yaml --key owner.key",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usagef("--key is missing")
			}
			secretKey, err := owner.Open(key, func() (secret.String, error) { return from.ask(cmd, key) })
			if err != nil {
				return err
			}
			config, err := owner.SignNode(args[0], secretKey)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: signed for node %s\n", args[0], config.Node)
			return err
		},
	}
	from.flag(cmd)
	cmd.Flags().StringVar(&key, "key", "", "the owner's secret key")
	return cmd
}

package main

import (
	"crypto/rand"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

func newFleet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Work with fleet.yaml, the file that describes a cluster, its sites and its nodes",
	}
	cmd.AddCommand(newFleetInit(), newFleetNode(), newFleetToken(), newFleetGitOps(), newFleetSchema())
	return cmd
}

// fleetFlag adds --fleet.
func fleetFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "fleet", "f", fleet.FileName, "the fleet file")
}

// loadFleet reads a fleet, whose nodes must have boards that are known.
func loadFleet(file string) (*fleet.Fleet, error) {
	return fleet.LoadFile(file, boards.FS)
}

func newFleetNode() *cobra.Command {
	var file string
	var reveal bool
	var out secretOut
	cmd := &cobra.Command{
		Use:   "node NAME",
		Short: "Print the node.yaml that a node would get",
		Long: `Print the flat node.yaml that a node of the fleet would get, but without its key:
that is made when the card is written. Secrets are masked unless --reveal.`,
		Example: `  imagebuilder fleet node cabin-pi
  imagebuilder fleet node cabin-pi --reveal --out secrets/cabin-pi.yaml`,
		Args:              exactArgs("NAME"),
		ValidArgsFunction: completeNode(cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			c, err := f.Config(args[0])
			if err != nil {
				return err
			}
			if !reveal {
				c = fleet.Masked(c)
			}
			data, err := node.Marshal(c)
			if err != nil {
				return err
			}
			return out.write(cmd, data, reveal)
		},
	}
	fleetFlag(cmd, &file)
	out.flag(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the secrets, unmasked")
	return cmd
}

func newFleetToken() *cobra.Command {
	var file string
	var out secretOut
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a new token for agents",
		Long: `Print a new token for agents. Like the one in force, it pins the cluster's
certificate authorities. Those have to be this fleet's (cluster: k3s: ca:).

To replace the old token:
  1. Put the new one in its place (cluster: k3s: agentToken).
  2. Give it to all nodes: imagebuilder apply --all --risky. Servers get it first.

Running agents go on with the old token until they get the new one. Once the servers
have the new one, nobody can join with the old one any more.

The servers' token is changed in k3s itself: k3s token rotate, on a server.`,
		Example: `  imagebuilder fleet token --out secrets/agent.token
  imagebuilder fleet token | age -r age1… -o secrets/agent.token.age`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			token, err := f.NewAgentToken(rand.Reader)
			if err != nil {
				return err
			}
			return out.write(cmd, []byte(token.Reveal()+"\n"), true)
		},
	}
	fleetFlag(cmd, &file)
	out.flag(cmd)
	return cmd
}

func newFleetSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of fleet.yaml, for editors",
		Example: `  imagebuilder fleet schema > fleet.schema.json
  # first line of fleet.yaml, for editors with yaml-language-server:
  # yaml-language-server: $schema=fleet.schema.json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(fleet.Schema)
			return err
		},
	}
}

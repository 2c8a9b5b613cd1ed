package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newNode() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Work with node.yaml, the identity of one node",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Check a node.yaml",
		Long: `Check a node.yaml as the node itself will, and point at what is legal but
likely to go wrong. A mistake is told with its line and field; exit code 1.`,
		Example: "  imagebuilder node check cabin-pi.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, _, err := loadNode(args[0])
			if err != nil {
				return err
			}
			for _, warning := range config.Warnings() {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: warning: %s\n", args[0], warning)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: node %s, site %s, role %s: good\n", args[0], config.Node, config.Site, config.Role)
			return err
		},
	})
	return cmd
}

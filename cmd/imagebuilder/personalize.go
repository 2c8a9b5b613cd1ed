package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/flash"
)

func newPersonalize() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "personalize IMAGE|DEVICE|DIR --node-config FILE",
		Short: "Give an image, a card or a mounted boot partition the identity of one node",
		Long: `Write node.yaml in place: onto an image file, a device, or a directory at which
a boot partition is mounted. The image then holds that node's secrets: treat it
like a key. Only its owner may read an image file from then on. An image for
another board than node.yaml names is refused. 'imagebuilder node write' does the
same.`,
		Example: `  imagebuilder personalize dist/rpi4.img --node-config cabin-pi.yaml
  imagebuilder personalize /dev/sdb --node-config cabin-pi.yaml`,
		Args: exactArgs("IMAGE|DEVICE|DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("--node-config is missing")
			}
			return runPersonalize(cmd, args[0], file)
		},
	}
	cmd.Flags().StringVar(&file, "node-config", "", "the node's node.yaml")
	return cmd
}

func runPersonalize(cmd *cobra.Command, target, file string) error {
	name, err := personalize(cmd.Context(), target, file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is now node %s\n", target, name)
	return err
}

// personalize checks a node.yaml and writes it onto target. It returns the
// node's name.
func personalize(ctx context.Context, target, file string) (string, error) {
	config, data, err := loadNode(file)
	if err != nil {
		return "", err
	}
	_, err = flash.Personalize(ctx, target, flash.Node{Board: config.Board, YAML: data})
	return config.Node, err
}

func loadNode(file string) (*node.Config, []byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	config, err := node.Load(file, data)
	return config, data, err
}

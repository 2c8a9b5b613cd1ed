package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/timezone"
)

func newPersonalize() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "personalize IMAGE|DEVICE|DIR --node-config FILE",
		Short: "Give an image, a card or a mounted boot partition the identity of one node",
		Long: `Write node.yaml in place: into an image file, onto a device, or into the directory
where a boot partition is mounted. 'imagebuilder node write' does the same.

Two things are refused:

  - an image for another board than node.yaml names
  - a stick that has installed its node, because no computer starts from it until
    the image is written to it again

The target then contains that node's secrets: treat it like a key. An image file
becomes readable by its owner alone.`,
		Example: `  imagebuilder personalize dist/rpi4.img --node-config secrets/cabin-pi.yaml
  imagebuilder personalize /dev/sdb --node-config secrets/cabin-pi.yaml`,
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
	config, err := personalize(cmd.Context(), target, file)
	if err != nil {
		return err
	}
	if config.Install != nil {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is now a stick: %s\n", target, installs(config.Node, *config.Install))
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is now node %s\n", target, config.Node)
	return err
}

// installs describes what a stick does when a computer starts from it.
func installs(name string, i node.Install) string {
	text := fmt.Sprintf("it installs node %s on one disk of the computer (%s), once; after that the stick is of no use", name, i.Disk)
	switch {
	case i.Wipe && i.ReplaceData:
		return text + "; everything on that disk is lost, even a node's data"
	case i.Wipe:
		return text + "; everything on that disk is lost; but if a node's data are on it, the stick stops"
	case i.ReplaceData:
		return text + "; a node's data on that disk are lost; if other data are on it, the stick stops"
	}
	return text + "; if that disk is not empty, the stick stops"
}

// personalize checks a node.yaml and writes it onto target.
func personalize(ctx context.Context, target, file string) (*node.Config, error) {
	config, data, err := loadNode(file)
	if err != nil {
		return nil, err
	}
	_, err = flash.Personalize(ctx, target, flashNode(config, data))
	return config, err
}

func flashNode(c *node.Config, text []byte) flash.Node {
	return flash.Node{Board: c.Board, Installs: c.Install != nil, YAML: text}
}

func loadNode(file string) (*node.Config, []byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	config, err := node.Load(file, data)
	if err != nil {
		return nil, nil, err
	}
	return config, data, checkAtHome(file, data, config)
}

// checkAtHome checks what a node does not check before its first start: time zones, which
// depend on the image, and flags, which depend on k3s. It also applies the rules of
// node.RefuseAtHome, which nodes do not, as they may run with a value that is older than its
// rule.
func checkAtHome(file string, data []byte, config *node.Config) error {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return err
	}
	found := doc.Findings()
	if bad := timezone.Check(config.Timezone); bad != nil {
		found.Refuse([]string{"timezone"}, "%v", bad)
	}
	config.RefuseAtHome(found)
	unfit := config.K3s.Config.Unfit(config.Role)
	for _, flag := range slices.Sorted(maps.Keys(unfit)) {
		found.Refuse([]string{"k3s", "config", flag}, "%v", unfit[flag])
	}
	return found.Err()
}

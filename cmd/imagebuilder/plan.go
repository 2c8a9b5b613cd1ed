package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet/plan"
)

func newPlan() *cobra.Command {
	var file, svg string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a fleet will be, and what will hurt",
		Long: `Show the sites and nodes of fleet.yaml as a diagram, what each node will do when
it is switched on, and warnings about what is allowed but will hurt: a data store
that stops when one server is away, SD cards that wear out, networks that
overlap, keys that expire in the post. Exit code 0 with warnings, too.`,
		Example: `  imagebuilder plan
  imagebuilder plan --svg plan.svg
  imagebuilder plan --json | jq '.warnings[].code'`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			p, err := plan.Make(f, func(name string) (*board.Board, error) { return board.Load(name, boards.FS) })
			if err != nil {
				return err
			}
			if svg != "" {
				if err := writeSVG(p, svg); err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), p)
			}
			return p.Text(cmd.OutOrStdout())
		},
	}
	fleetFlag(cmd, &file)
	cmd.Flags().StringVar(&svg, "svg", "", "write the diagram as a picture, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeSVG(p *plan.Plan, name string) error {
	f, err := atomicfile.Create(name, os.FileMode(0o644))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.SVG(f); err != nil {
		return err
	}
	return f.Commit()
}

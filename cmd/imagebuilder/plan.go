package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/fleet/plan"
	"github.com/going-mobile/imagebuilder/image/objects"
	"github.com/going-mobile/imagebuilder/overlays"
)

func newPlan() *cobra.Command {
	var file, svg string
	var manifests []string
	var asJSON, resources bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a fleet will be, and what will hurt",
		Long: `Show the sites and nodes of fleet.yaml as a diagram, what each node will do when
it is switched on, the container images that its disk image will carry, and
warnings about what is allowed but will hurt: a data store that stops when one
server is away, SD cards that wear out, networks that overlap, keys that expire in
the post. Exit code 0 with warnings, too; 1 where a node's answer has no room on its
card, as far as the secrets in it are there.

--resources compares what the cluster shall run with its machines (nodes: NAME:
machine: {cpus: 4, memoryGiB: 16}), with all sites and with each of them lost; with
diskGiB there, how large that is where Longhorn has its volumes, these with the disks.
What fleet.yaml lets it begin with is counted; the applications are those of
--manifests: Kubernetes objects in .yaml, .yml and .json, which are checked on the way;
what is of a kind that this program does not know is told of, and not counted. Exit
code 1 where something does not fit.`,
		Example: `  imagebuilder plan
  imagebuilder plan --svg plan.svg
  imagebuilder plan --resources --manifests ../cluster/apps
  imagebuilder plan --json | jq '.warnings[].code'`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := loadFleet(file)
			if err != nil {
				return err
			}
			if resources || len(manifests) > 0 {
				if svg != "" {
					return usagef("--svg draws the plan: leave --resources and --manifests out")
				}
				return planResources(cmd, f, manifests, asJSON)
			}
			if err := roomOnCards(f); err != nil {
				return err
			}
			p, err := plan.Make(f, func(name string) (*board.Board, error) { return board.Load(name, boards.FS) }, overlays.FS)
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
	cmd.Flags().BoolVar(&resources, "resources", false, "whether the machines are large enough")
	cmd.Flags().StringArrayVar(&manifests, "manifests", nil, "with --resources: a file, or a directory with all below it, of what the cluster shall run (repeatable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// roomOnCards refuses a fleet whose node.yaml files would not fit onto cards. A plan does
// not need the secrets, so missing ones are no error here.
func roomOnCards(f *fleet.Fleet) error {
	for _, name := range f.Nodes.Names {
		if err := card.Fits(f, card.Card{Node: name}); errors.Is(err, node.ErrTooLong) {
			return err
		}
	}
	return nil
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

// errNoRoom is returned when the printed plan shows what does not fit.
var errNoRoom = errors.New("the cluster is too small for what it shall run")

func planResources(cmd *cobra.Command, f *fleet.Fleet, manifests []string, asJSON bool) error {
	var all []objects.Object
	var others strictyaml.Problems
	for _, name := range manifests {
		found, unknown, err := readObjects(name)
		if err != nil {
			return err
		}
		all, others = append(all, found...), append(others, unknown...)
	}
	workloads, err := objects.Demands(all)
	if err != nil {
		return err
	}
	volumes, err := objects.Storage(all, "longhorn")
	if err != nil {
		return err
	}
	r, err := plan.MakeResources(f, workloads, volumes)
	if err != nil {
		return err
	}
	tellOthers(cmd.ErrOrStderr(), others)
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.Text(cmd.OutOrStdout())
	}
	if err == nil && !r.Fits() {
		return errNoRoom
	}
	return err
}

// readObjects reads a file, or every .yaml, .yml and .json file below a directory, as Argo CD
// does. others are the documents of kinds that it does not know.
func readObjects(name string) (all []objects.Object, others strictyaml.Problems, err error) {
	err = filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || file != name && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found, unknown, err := objects.Sift(file, data)
		all, others = append(all, found...), append(others, unknown...)
		return err
	})
	return all, others, err
}

// tellOthers names each kind once, and of what has none each file.
func tellOthers(out io.Writer, all strictyaml.Problems) {
	told := map[string]bool{}
	for _, p := range all {
		what := p.Msg
		if p.Field == "" {
			what = p.Name
		}
		if !told[what] {
			fmt.Fprintf(out, "not counted: %s\n", printable(p.Error()))
		}
		told[what] = true
	}
}

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

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
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
		Short: "Show what a fleet will be, and warn of what will cause trouble",
		Long: `Show what fleet.yaml describes:

  - the sites and nodes, as a diagram
  - what each node will do when it is switched on
  - the container images that its disk image will contain
  - warnings about what is allowed but will cause trouble: a data store that stops
    when one server is away, SD cards that wear out, networks that overlap, keys
    that expire in the post

The exit code is 0 even with warnings. It is 1 if a node's node.yaml is too large
for its card; this is checked only for nodes whose secrets all exist.

--resources compares what the cluster is to run with the size of its machines: with
all sites, and with each of them lost. fleet.yaml says how large the machines are
(nodes: NAME: machine: {cpus: 4, memoryGiB: 16}). With diskGiB, the size of the disk
or partition for Longhorn's volumes, the volumes are compared with the disks, too.

What the cluster begins with according to fleet.yaml is counted. The applications
come from --manifests: Kubernetes objects in .yaml, .yml and .json files, which are
checked on the way. Objects of a kind that this program does not know are listed,
but not counted. The exit code is 1 if something does not fit.`,
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
			p, err := plan.Make(f, overlays.FS)
			if err != nil {
				return err
			}
			if svg != "" {
				if err := writeFile(svg, p.SVG); err != nil {
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
	cmd.Flags().StringVar(&svg, "svg", "", "also write the diagram to this file, as an SVG picture (not with --resources)")
	cmd.Flags().BoolVar(&resources, "resources", false, "show whether the machines are large enough")
	cmd.Flags().StringArrayVar(&manifests, "manifests", nil, "a file with objects that the cluster is to run, or a directory with such files at any depth (repeatable; implies --resources)")
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

// errNoRoom is returned when the printed plan shows what does not fit.
var errNoRoom = errors.New("the cluster is too small for what it is to run")

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

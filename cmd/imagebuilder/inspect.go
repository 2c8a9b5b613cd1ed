package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/tree"
)

func newInspect() *cobra.Command {
	var asTree, asPackages, asImages, asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show what is in an image",
		Long: `Show what is in an image, raw or in QEMU's format (qcow2), from the image alone:
  - its partitions, drawn to scale;
  - versions of the system and of components;
  - container images;
  - the largest packages.
--tree lists all files instead, --packages all packages. A compressed image has to
be unpacked first.

--tree, --packages, --images and --json exclude each other, except --images --json.

--images reads every archive of container images to its end, and fails if one is not
whole. (containerd imports an archive that lacks a layer and reports nothing.)
Archives in another format than OCI's, such as k3s' own, are only compared with the
digest in their name.`,
		Example: `  imagebuilder inspect dist/rpi4.img
  imagebuilder inspect dist/rpi4.img --packages
  imagebuilder inspect dist/rpi4.img --tree | grep bin/k3s
  imagebuilder inspect dist/optiplex-7050.img --images
  imagebuilder inspect dist/rpi4.img --json`,
		Args: exactArgs("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asTree && asPackages || asTree && asJSON || asPackages && asJSON || asImages && (asTree || asPackages) {
				return usagef("--tree, --packages, --images and --json exclude each other, except --images --json")
			}
			img, err := inspect.Open(args[0])
			if err != nil {
				return err
			}
			defer img.Close()
			if asImages {
				return inspectImages(cmd.OutOrStdout(), args[0], img, asJSON)
			}
			report, err := inspect.Describe(img)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			out := cmd.OutOrStdout()
			switch {
			case asJSON:
				return printJSON(out, report)
			case asTree:
				return printTree(out, img)
			case asPackages:
				return printPackages(out, report.Packages)
			}
			return printReport(out, report)
		},
	}
	cmd.Flags().BoolVar(&asTree, "tree", false, "list every file of the root file system")
	cmd.Flags().BoolVar(&asPackages, "packages", false, "list every package")
	cmd.Flags().BoolVar(&asImages, "images", false, "list every container image, and check that it is whole")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func inspectImages(out io.Writer, name string, img *inspect.Image, asJSON bool) error {
	root, err := img.Root()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	list, err := inspect.Archives(root)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	print := printArchives
	if asJSON {
		print = func(out io.Writer, list []inspect.Archive) error { return printJSON(out, list) }
	}
	if err := print(out, list); err != nil {
		return err
	}
	var problems []error
	for _, a := range list {
		for _, p := range a.Problems {
			problems = append(problems, fmt.Errorf("%s: %s: %s", name, a.File, p))
		}
	}
	return errors.Join(problems...)
}

func printArchives(out io.Writer, list []inspect.Archive) error {
	w := newTable(out)
	if len(list) == 0 {
		fmt.Fprintln(w, "no container images")
	}
	for _, a := range list {
		if a.Deferred {
			fmt.Fprintf(w, "%s\tdeferred to first boot\n", a.File)
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f MB", a.File, float64(a.Size)/1e6)
		if a.SHA256 != "" {
			fmt.Fprintf(w, "\tsha256:%s", a.SHA256)
		}
		fmt.Fprintln(w)
		for _, e := range a.Images {
			fmt.Fprintf(w, "  %s\t", e.Name)
			if e.Size > 0 { // if the size is known
				fmt.Fprintf(w, "%.1f MB\t", float64(e.Size)/1e6)
			}
			fmt.Fprintln(w, e.Digest)
		}
	}
	return w.Flush()
}

func printReport(out io.Writer, r *inspect.Report) error {
	w := newTable(out)
	fmt.Fprintf(w, "board\t%s (%s)\n", r.Identity.Board, r.Identity.Arch)
	fmt.Fprintf(w, "version\t%s\n", r.Identity.ImageVersion)
	fmt.Fprintf(w, "debian\t%s, kernel %s\n", r.Debian, r.Kernel)
	if r.Identity.Signed {
		fmt.Fprintf(w, "secure boot\tstarts with the signatures of Microsoft (shim) and Debian\n")
	}
	fmt.Fprintf(w, "packages\t%d\n", len(r.Packages))
	for _, c := range r.Components {
		state := "in the image"
		if c.Deferred {
			state = "deferred to first boot"
		}
		fmt.Fprintf(w, "%s\t%s, %s\n", c.Name, c.Version, state)
	}
	fmt.Fprintf(w, "disk\t%s %s, %.1f MB\n", r.Layout.Scheme, r.Layout.ID, float64(r.Layout.Size)/1e6)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	drawLayout(out, r.Layout)
	fmt.Fprintln(out)
	if err := printArchives(out, r.Archives); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nlargest packages:")
	return printPackages(out, inspect.Largest(r.Packages, 10))
}

// drawLayout draws the partitions as a bar to scale and lists them.
func drawLayout(out io.Writer, l disk.Layout) {
	const width = 72
	var bar strings.Builder
	inOrder := slices.SortedFunc(slices.Values(l.Partitions), func(a, b disk.Partition) int { return cmp.Compare(a.Start, b.Start) })
	for _, p := range inOrder {
		cells := max(3, int(p.Size*width/l.Size))
		label := fmt.Sprint(p.Number)
		bar.WriteString("[" + label + strings.Repeat("=", max(0, cells-2-len(label))) + "]")
	}
	fmt.Fprintln(out, bar.String())
	w := newTable(out)
	for _, p := range l.Partitions {
		fmt.Fprintf(w, "%d\t%s\tat %d MiB\t%.1f MiB\ttype %s\n", p.Number, p.Name, p.Start>>20, float64(p.Size)/(1<<20), p.Type)
	}
	w.Flush()
}

func printPackages(out io.Writer, list []inspect.Package) error {
	w := newTable(out)
	fmt.Fprintln(w, "PACKAGE\tVERSION\tKIB")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\n", p.Name, p.Version, (p.Size+1023)/1024)
	}
	return w.Flush()
}

func printTree(out io.Writer, img *inspect.Image) error {
	root, err := img.Root()
	if err != nil {
		return err
	}
	for n := range root.Walk() {
		if _, err := fmt.Fprintf(out, "%s %d:%d %10d /%s%s\n", n.Mode, n.UID, n.GID, n.Size(), n.Path, arrow(n)); err != nil {
			return err
		}
	}
	return nil
}

func arrow(n *tree.Node) string {
	switch {
	case n.Mode&fs.ModeSymlink != 0:
		return " -> " + n.Link
	case n.IsHardLink():
		return " = /" + n.Link
	}
	return ""
}

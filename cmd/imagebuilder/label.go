package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/label"
)

func newLabel() *cobra.Command {
	var file, pdf, size, language string
	cmd := &cobra.Command{
		Use:   "label NODE... --pdf FILE",
		Short: "Make the label that goes into the box with a node",
		Long: `Write a PDF with one page for each node. The page shows:

  - which node it is, and for which place
  - what to plug in where, on a drawing of its back
  - what its lights mean
  - whom to call (contact: of the site or the cluster in fleet.yaml)
  - a QR code that leads to the node's own page, unless the node shows none

There is no secret on it.

--size is a6, or 62mm for label printers with a roll, which is cut where the text
ends. --language is en, de, fr, es or pt, the languages of the node's page.`,
		Example: `  imagebuilder label cabin-pi --pdf cabin-pi.pdf
  imagebuilder label cabin-pi cabin-box --pdf labels.pdf --size 62mm --language pt`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("'%s' takes at least one NODE", cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if pdf == "" {
				return usagef("--pdf is missing")
			}
			paper, err := label.ParseSize(size)
			if err != nil {
				return usagef("--size: %w", err)
			}
			in, err := label.ParseLanguage(language)
			if err != nil {
				return usagef("--language: %w", err)
			}
			labels, err := findLabels(file, args, in)
			if err != nil {
				return err
			}
			tellNobody(cmd.ErrOrStderr(), labels)
			write := func(w io.Writer) error { return label.Write(w, paper, labels) }
			if pdf == "-" {
				return write(cmd.OutOrStdout())
			}
			if err := writeFile(pdf, write); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d label(s), %s\n", pdf, len(labels), size)
			return err
		},
	}
	fleetFlag(cmd, &file)
	cmd.Flags().StringVar(&pdf, "pdf", "", "the file to write, - for standard output")
	cmd.Flags().StringVar(&size, "size", "a6", "paper: a6 or 62mm")
	cmd.Flags().StringVar(&language, "language", "en", "language of the person who opens the box: "+strings.Join(label.Tags, ", "))
	_ = cmd.RegisterFlagCompletionFunc("language", cobra.FixedCompletions(label.Tags, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func findLabels(file string, nodes []string, in label.Language) ([]label.Label, error) {
	f, err := loadFleet(file)
	if err != nil {
		return nil, err
	}
	var out []label.Label
	for i, name := range nodes {
		if slices.Contains(nodes[:i], name) {
			return nil, usagef("%s is named twice", name)
		}
		l, err := labelOf(f, name)
		if err != nil {
			return nil, err
		}
		l.Language = in
		out = append(out, l)
	}
	return out, nil
}

// tellNobody names the labels that tell a helper nobody to call.
func tellNobody(w io.Writer, labels []label.Label) {
	for _, l := range labels {
		if l.Contact == "" {
			fmt.Fprintf(w, "%s: the label names nobody to call: write contact: below cluster, or below sites.%s, in fleet.yaml\n", l.Node, l.Site)
		}
	}
}

func labelOf(f *fleet.Fleet, name string) (label.Label, error) {
	n, err := f.Find(name)
	if err != nil {
		return label.Label{}, err
	}
	b, err := f.Board(n.Board)
	if err != nil {
		return label.Label{}, err
	}
	return label.Label{Node: name, Site: n.Site, Board: b, Contact: f.Contact(n.Site), Page: f.ShowsPage(n)}, nil
}

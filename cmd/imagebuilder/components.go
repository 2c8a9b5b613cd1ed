package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/component"
)

func newComponents() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "components",
		Short: "List the components: pinned software that is not from Debian packages",
		Long: `List the components: pinned programs, archives and Helm charts that are not Debian
packages. VERSION is the pinned release. FALLBACK says what happens if it cannot be
downloaded, or was not asked for.

To override one: 'imagebuilder build --component NAME=VERSION|FILE|URL'.`,
		Example: "  imagebuilder components --json",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := component.List()
			if err != nil {
				return err
			}
			return printComponents(cmd, list, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printComponents(cmd *cobra.Command, list []component.Component, asJSON bool) error {
	type row struct {
		Name        string              `json:"name"`
		Description string              `json:"description"`
		Optional    bool                `json:"optional"`
		URL         string              `json:"url"`
		Releases    []component.Release `json:"releases"`
		Module      string              `json:"module,omitempty"`
	}
	var rows []row
	for _, c := range list {
		rows = append(rows, row{
			Name: c.Name, Description: c.Description, Optional: c.Optional, URL: c.URL, Releases: c.Releases, Module: c.ModuleVersion(),
		})
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), rows)
	}
	w := newTable(cmd.OutOrStdout())
	fmt.Fprintln(w, "COMPONENT\tVERSION\tFALLBACK\tWHAT IT IS")
	for _, r := range rows {
		version := "-"
		if len(r.Releases) > 0 {
			version = r.Releases[0].Version
		}
		fallback := "deferred to first boot"
		switch {
		case r.Module != "":
			fallback = "built from " + r.Module
		case r.Optional:
			fallback = "left out unless asked for"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, version, fallback, r.Description)
	}
	return w.Flush()
}

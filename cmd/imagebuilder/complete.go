package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// completeNodes offers the fleet's nodes that the line does not have yet.
func completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	f, err := fleetOf(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool { return slices.Contains(args, name) })
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeSites offers the fleet's sites.
func completeSites(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	f, err := fleetOf(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(f.Sites)), cobra.ShellCompDirectiveNoFileComp
}

// fleetOf is the fleet that a half-written line means.
func fleetOf(cmd *cobra.Command) (*fleet.Fleet, error) {
	file, err := cmd.Flags().GetString("fleet")
	if err != nil {
		return nil, err
	}
	return loadFleet(file)
}

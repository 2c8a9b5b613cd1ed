package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// completeNodes offers the fleet's nodes that are not on the command line yet, as NODE or
// NODE=DEVICE.
func completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	f, err := fleetOf(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool {
		return slices.ContainsFunc(args, func(arg string) bool { return arg == name || strings.HasPrefix(arg, name+"=") })
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeNode offers a node for the first argument, and rest for those after it.
func completeNode(rest cobra.ShellCompDirective) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, rest
		}
		return completeNodes(cmd, args, word)
	}
}

// completeSites offers the fleet's sites.
func completeSites(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	f, err := fleetOf(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(f.Sites)), cobra.ShellCompDirectiveNoFileComp
}

// fleetOf is the fleet that an incomplete command line refers to.
func fleetOf(cmd *cobra.Command) (*fleet.Fleet, error) {
	file, err := cmd.Flags().GetString("fleet")
	if err != nil {
		return nil, err
	}
	return loadFleet(file)
}

package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

func newCache() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show or shrink the cache of downloads and decoded packages",
	}
	cmd.PersistentFlags().StringVar(&dir, "cache", "", "cache directory (default $XDG_CACHE_HOME/imagebuilder)")
	cmd.AddCommand(newCacheInfo(&dir), newCachePrune(&dir))
	return cmd
}

func newCacheInfo(dir *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "info",
		Short:   "Show what the cache holds",
		Example: "  imagebuilder cache info --json",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cache, err := fetch.OpenOld(*dir)
			if err != nil {
				return err
			}
			defer cache.Close()
			usage, err := cache.Info()
			if err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), cache.Dir())
			}
			return printUsage(cmd, usage, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newCachePrune(dir *string) *cobra.Command {
	var policy fetch.Policy
	var days int
	var gigabytes float64
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove old entries from the cache",
		Example: `  imagebuilder cache prune --days 30
  imagebuilder cache prune --max-gb 2
  imagebuilder cache prune --all`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed
			switch {
			case given("days") && days <= 0:
				return usagef("--days %d: want a number of days above 0", days)
			case given("max-gb") && gigabytes <= 0:
				return usagef("--max-gb %g: want a number above 0; --all removes everything", gigabytes)
			case !policy.All && days == 0 && gigabytes == 0:
				return usagef("say what to remove: --days N, --max-gb N or --all")
			}
			cache, err := fetch.OpenOld(*dir)
			if err != nil {
				return err
			}
			defer cache.Close()
			policy.MaxAge = time.Duration(days) * 24 * time.Hour
			policy.MaxBytes = int64(gigabytes * 1e9)
			removed, err := cache.Prune(policy)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "removed:")
			return printUsage(cmd, removed, false)
		},
	}
	cmd.Flags().IntVar(&days, "days", 0, "remove entries that were not used for this many days")
	cmd.Flags().Float64Var(&gigabytes, "max-gb", 0, "remove entries, the longest unused first, until at most this many GB are left")
	cmd.Flags().BoolVar(&policy.All, "all", false, "remove everything")
	cmd.MarkFlagsMutuallyExclusive("all", "days")
	cmd.MarkFlagsMutuallyExclusive("all", "max-gb")
	return cmd
}

func printUsage(cmd *cobra.Command, usage []fetch.Usage, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), append([]fetch.Usage{}, usage...)) // a list, even if empty
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "kind\tentries\tMB\t")
	for _, u := range usage {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t\n", u.Kind, u.Entries, float64(u.Bytes)/1e6)
	}
	return w.Flush()
}

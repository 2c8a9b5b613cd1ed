package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  imagebuilder version",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// version is also what --version prints.
func version() string {
	return fmt.Sprintf("imagebuilder %s (%s, %s/%s)", image.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

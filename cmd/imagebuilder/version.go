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
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "imagebuilder %s (%s, %s/%s)\n",
				image.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/flash"
)

func newFlash() *cobra.Command {
	var opt flash.Options
	var file string
	var list, quiet bool
	cmd := &cobra.Command{
		Use:   "flash IMAGE DEVICE",
		Short: "Write an image to a card or disk, and read it back",
		Long: `Write an image, raw or compressed, to a card or disk and verify it by reading
it back. Mounted disks, the system's own disk and built-in disks are refused
(the last unless --force). With --node-config the card gets a node's identity.`,
		Example: `  imagebuilder flash --list
  imagebuilder flash dist/rpi4.img /dev/sdb --node-config cabin-pi.yaml`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				return printDevices(cmd)
			}
			if len(args) != 2 {
				return usagef("name the image and the device; 'imagebuilder flash --list' lists devices")
			}
			return runFlash(cmd, args[0], args[1], file, quiet, opt)
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list disks that can be written to")
	cmd.Flags().StringVar(&file, "node-config", "", "give the card this node.yaml")
	cmd.Flags().BoolVar(&opt.Force, "force", false, "write to a built-in disk too")
	cmd.Flags().BoolVar(&opt.NoVerify, "no-verify", false, "do not read the card back")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return cmd
}

func runFlash(cmd *cobra.Command, image, device, file string, quiet bool, opt flash.Options) error {
	if file != "" { // before the card is overwritten
		if _, _, err := loadNode(file); err != nil {
			return err
		}
	}
	u := newUI(quiet)
	opt.Progress = u
	result, err := flash.WriteImage(cmd.Context(), image, device, opt)
	u.close()
	if err != nil {
		return err
	}
	verified := "not verified"
	if result.Verified {
		verified = "verified"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %.1f MB written, %s, sha256 %s\n", device, float64(result.Size)/1e6, verified, result.SHA256)
	if file == "" {
		return nil
	}
	name, err := personalize(cmd.Context(), device, file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is now node %s\n", device, name)
	return err
}

func printDevices(cmd *cobra.Command) error {
	devices, err := flash.Devices(cmd.Context())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tSIZE\tBUS\tMODEL\tUSABLE")
	for _, d := range devices {
		usable := "yes"
		if err := d.Check(-1, false); err != nil {
			usable = err.Error()
		}
		fmt.Fprintf(w, "%s\t%.1f GB\t%s\t%s\t%s\n", d.Path, float64(d.Size)/1e9, d.Bus, d.Model, usable)
	}
	return w.Flush()
}

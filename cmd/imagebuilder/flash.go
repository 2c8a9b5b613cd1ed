package main

import (
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/flash"
)

const flashHelp = `Write an image, raw, compressed or as QEMU has them (qcow2), to a card or disk and
read it back. Before the first byte is written the image is compared with what lies
beside it (IMAGE.manifest.json, IMAGE.bmap, IMAGE.provenance.json, .sha256, SHA256SUMS).
An image that differs is refused; so is one that is not a whole image of
imagebuilder, unless --force-foreign. Who made an image only 'imagebuilder
verify' tells.

Mounted disks, the system's own disk and built-in disks are refused (the last
unless --force). With --node-config the card gets a node's identity. DEVICE may
be a new file, which appears when it is whole, or an image in whose place it comes;
any other file is refused unless --force, and a new one that is called as a device
always (sdb, for /dev/sdb). What to set in the machine's BIOS is told at the end;
--boards is where that of your own board is found.

With --node the card is that of a node of the fleet: the image of its board is
built where it has changed, and a single-use key is made for it when all that can be
refused was not. The key is expired again when anything goes wrong; once the card is
written, that which the node had before is. --lock, --locked, --strict and
--registry-mirror are those of 'imagebuilder build'. Without DEVICE the disks are shown and one is asked
for; the name of a device must be typed unless --yes, whichever of its names is given.
If another disk is there when it is to be written, nothing is.

Where node.yaml says install: the card is a stick: a computer that starts from it
gets the system onto one of its disks, once, and restarts from that. No computer
starts from the stick any more then: write the image onto it again.

With a block map beside the image only what that has is written. Beyond the
image the device is probed: one that is smaller than it says is refused. A card
or stick is ejected at the end.`

func newFlash() *cobra.Command {
	var opt flash.Options
	var file, boards string
	var list, quiet bool
	var nodes nodeCards
	cmd := &cobra.Command{
		Use:   "flash IMAGE DEVICE | flash --node NODE [DEVICE]",
		Short: "Check an image, write it to a card or disk, and read it back",
		Long:  flashHelp,
		Example: `  imagebuilder flash --list
  imagebuilder flash dist/rpi4.img /dev/sdb --node-config secrets/cabin-pi.yaml
  imagebuilder flash --node cabin-pi
  imagebuilder flash --node cabin-pi=/dev/sdb --node home-pi=/dev/sdc --yes`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if list && len(args) > 0 {
				return usagef("--list takes no argument, but got %q", args[0])
			}
			if list {
				return listDevices(cmd, opt.Force)
			}
			if len(nodes.names) > 0 && file != "" {
				return usagef("--node or --node-config, not both")
			}
			if len(nodes.names) > 0 && boards != "" {
				return usagef("--boards is for an image; nodes of a fleet are of built-in boards")
			}
			if len(nodes.names) > 0 {
				return nodes.flash(cmd, args, quiet, opt)
			}
			if nodes.inputs.given() {
				return usagef("--lock, --locked, --strict and --registry-mirror go with --node: IMAGE is written as it is")
			}
			if len(args) != 2 {
				return usagef("name the image and the device; 'imagebuilder flash --list' lists devices")
			}
			from, err := boardSources(boards)
			if err != nil {
				return err
			}
			return runFlash(cmd, args[0], args[1], file, quiet, opt, from)
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list disks that can be written to")
	cmd.Flags().StringVar(&file, "node-config", "", "give the card this node.yaml")
	cmd.Flags().StringVar(&boards, "boards", "", "directory with your own board files")
	cmd.Flags().BoolVar(&opt.Force, "force", false, "write to a built-in disk, or over any file, too")
	cmd.Flags().BoolVar(&opt.ForceForeign, "force-foreign", false, "write an image that is not a whole one of imagebuilder, too")
	cmd.Flags().BoolVar(&opt.NoVerify, "no-verify", false, "do not read the card back")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress")
	nodes.flags(cmd)
	return cmd
}

func runFlash(cmd *cobra.Command, image, device, file string, quiet bool, opt flash.Options, from []fs.FS) error {
	var config *node.Config
	if file != "" {
		var data []byte
		var err error
		if config, data, err = loadNode(file); err != nil {
			return err
		}
		of := flashNode(config, data)
		opt.Node = &of
	}
	u := newUI(cmd, quiet)
	opt.Progress = u
	result, err := flash.WriteImage(cmd.Context(), image, device, opt)
	u.close()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	printWritten(w, device, result)
	if config != nil {
		printNode(w, config.Node, config.Install)
	}
	if err := w.Flush(); err != nil || quiet {
		return err
	}
	return tellChecklists(cmd.ErrOrStderr(), from, result)
}

func printWritten(w io.Writer, device string, result *flash.Result) {
	after := "NOT read back"
	if result.ReadBack {
		after = fmt.Sprintf("read back in %.1f s, as written", result.ReadTime.Seconds())
	}
	if result.Ejected {
		after += "; ejected, take it out"
	}
	fmt.Fprintf(w, "written\t%s, %.1f MB of %.1f MB in %.1f s, %s\n",
		device, float64(result.Written)/1e6, float64(result.Image.Size)/1e6, result.WriteTime.Seconds(), after)
	printChecked(w, result.Image)
}

// printNode prints which node the card is for.
func printNode(w io.Writer, name string, i *node.Install) {
	fmt.Fprintf(w, "node\t%s\n", name)
	if i != nil {
		fmt.Fprintf(w, "stick\t%s\n", installs(name, *i))
	}
}

func listDevices(cmd *cobra.Command, force bool) error {
	devices, err := flash.Devices(cmd.Context())
	if err != nil {
		return err
	}
	return printDevices(cmd.OutOrStdout(), devices, force)
}

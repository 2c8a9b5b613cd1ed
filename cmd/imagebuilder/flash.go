package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/flash"
)

const flashHelp = `Write an image to a card or disk, and read it back. The image may be raw,
compressed, or in QEMU's format (qcow2).

Before the first byte is written, flash refuses
  - an image that differs from what lies beside it (IMAGE.manifest.json, IMAGE.bmap,
    IMAGE.provenance.json, .sha256, SHA256SUMS);
  - an image that is not a whole image made by imagebuilder, unless --force-foreign;
  - a mounted disk, and the disk that this system runs from;
  - a built-in disk, unless --force.
It checks no signature: only 'imagebuilder verify' tells who made an image.

DEVICE may also be a file:
  - a new file, which appears when it is complete. The bare name of a device is
    refused, even with --force (sdb, where /dev/sdb is meant);
  - an image of imagebuilder or an empty file, which is replaced;
  - any other file, only with --force.

With --node-config the card gets the identity of a node.

At the end flash prints what to set in the BIOS of the board's machine. For a board
of your own, --boards names the directory of its file; for a node, fleet.yaml does.

With --node, flash makes the card of a node of the fleet:
  - It builds the image of the node's board, if something in it has changed, unless
    --image names one. The flags that say from what it is built, such as --lock and
    --component, are those of 'imagebuilder build'.
  - It makes a single-use key for the node, once nothing but writing can fail any
    more. If that fails, this key is expired again. Once the card is written, the
    unused key that the node had before is expired. The node that runs Headscale
    gets no key.
  - Without DEVICE, it shows the disks and asks for one. The device's name has to be
    typed as it is shown, even if DEVICE names it, unless --yes.
  - If another disk is there by the time of writing, nothing is written.

Where node.yaml says install:, the card is an installer stick. A computer that
starts from it gets the system onto one of its disks, and restarts from that disk.
This works once. No computer starts from the stick after that: to use it again,
write the image onto it again.

If there is a block map beside the image, only the blocks in that map are written,
and other blocks that are not zeros.

To find devices that are smaller than they claim, flash writes test blocks beyond the
image (not with --no-verify), and refuses such a device.

A card or stick is ejected at the end.`

func newFlash() *cobra.Command {
	var opt flash.Options
	var file, boards string
	var list, asJSON, quiet bool
	var nodes nodeCards
	cmd := &cobra.Command{
		Use:   "flash IMAGE DEVICE | flash --node NODE [DEVICE]",
		Short: "Check an image, write it to a card or disk, and read it back",
		Long:  flashHelp,
		Example: `  imagebuilder flash --list
  imagebuilder flash --list --json | jq -r '.[] | select(.usable).device'
  imagebuilder flash dist/rpi4.img /dev/sdb --node-config secrets/cabin-pi.yaml
  imagebuilder flash --node cabin-pi
  imagebuilder flash --node cabin-pi=/dev/sdb --node home-pi=/dev/sdc --yes`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if list && len(args) > 0 {
				return usagef("--list takes no argument, but got %q", args[0])
			}
			if list {
				return listDevices(cmd, opt.Force, asJSON)
			}
			if asJSON {
				return usagef("--json goes with --list")
			}
			if len(nodes.names) > 0 && file != "" {
				return usagef("--node or --node-config, not both")
			}
			if len(nodes.names) > 0 && boards != "" {
				return usagef("--boards is for an image; a fleet names the directory of its boards in fleet.yaml, as boards: DIR")
			}
			if len(nodes.names) > 0 {
				return nodes.flash(cmd, args, quiet, opt)
			}
			if name := nodes.inputs.given(cmd.Flags()); name != "" {
				return usagef("%s goes with --node: IMAGE is written as it is", name)
			}
			if len(args) != 2 {
				return usagef("name the image and the device; 'imagebuilder flash --list' lists devices")
			}
			from, err := boardSources(boards)
			if err != nil {
				return err
			}
			load := func(name string) (*board.Board, error) { return board.Load(name, from...) }
			return runFlash(cmd, args[0], args[1], file, quiet, opt, load)
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list disks that can be written to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --list: print JSON")
	cmd.Flags().StringVar(&file, "node-config", "", "give the card this node.yaml")
	cmd.Flags().StringVar(&boards, "boards", "", "directory with your own board files")
	cmd.Flags().BoolVar(&opt.Force, "force", false, "also write to a built-in disk, or over any file")
	cmd.Flags().BoolVar(&opt.ForceForeign, "force-foreign", false, "also write an image that is not a whole image made by imagebuilder")
	cmd.Flags().BoolVar(&opt.NoVerify, "no-verify", false, "do not read the card back")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress")
	nodes.flags(cmd)
	return cmd
}

func runFlash(cmd *cobra.Command, image, device, file string, quiet bool, opt flash.Options, load boardLoader) error {
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
	w := newTable(cmd.OutOrStdout())
	printWritten(w, device, result)
	if config != nil {
		printNode(w, config.Node, config.Install)
	}
	if err := w.Flush(); err != nil || quiet {
		return err
	}
	return tellChecklists(cmd.ErrOrStderr(), load, result)
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

func listDevices(cmd *cobra.Command, force, asJSON bool) error {
	devices, err := flash.Devices(cmd.Context())
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), listed(devices, force))
	}
	return printDevices(cmd.OutOrStdout(), devices, force)
}

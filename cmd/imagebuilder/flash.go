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
  - It refuses a node that is a member of the tailnet already, as another one could
    not join by that name: 'imagebuilder replace' puts one in its place. A node with
    a data disk is not refused, as it finds itself there again, and the node that
    runs Headscale is not.
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

// flashFlags are the flags of "flash".
type flashFlags struct {
	config, boards string
	list, asJSON   bool
	nodes          []string  // NODE or NODE=DEVICE
	cards          nodeCards // its opt and quiet are for any card
}

func newFlash() *cobra.Command {
	var f flashFlags
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
			if err := f.check(cmd, args); err != nil {
				return err
			}
			return f.run(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&f.list, "list", false, "list disks that can be written to")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "with --list: print JSON")
	cmd.Flags().StringVar(&f.config, "node-config", "", "give the card this node.yaml")
	cmd.Flags().StringVar(&f.boards, "boards", "", "directory with your own board files")
	cmd.Flags().BoolVar(&f.cards.opt.Force, "force", false, "also write to a built-in disk, or over any file")
	cmd.Flags().BoolVar(&f.cards.opt.ForceForeign, "force-foreign", false, "also write an image that is not a whole image made by imagebuilder")
	cmd.Flags().BoolVar(&f.cards.opt.NoVerify, "no-verify", false, "do not read the card back")
	cmd.Flags().BoolVarP(&f.cards.quiet, "quiet", "q", false, "no progress")
	cmd.Flags().StringArrayVar(&f.nodes, "node", nil, "NODE or NODE=DEVICE: write the card of this node of the fleet (repeatable)")
	_ = cmd.RegisterFlagCompletionFunc("node", completeNodes)
	f.cards.flags(cmd)
	return cmd
}

// check refuses combinations of flags and arguments that do not make sense.
func (f *flashFlags) check(cmd *cobra.Command, args []string) error {
	if f.list {
		if len(args) > 0 {
			return usagef("--list takes no argument, but got %q", args[0])
		}
		return nil
	}
	if f.asJSON {
		return usagef("--json goes with --list")
	}
	if len(f.nodes) > 0 {
		if f.config != "" {
			return usagef("--node or --node-config, not both")
		}
		if f.boards != "" {
			return usagef("--boards is for an image; a fleet names the directory of its boards in fleet.yaml, as boards: DIR")
		}
		return nil
	}
	if name := f.cards.inputs.given(cmd.Flags()); name != "" {
		return usagef("%s goes with --node: IMAGE is written as it is", name)
	}
	if len(args) != 2 {
		return usagef("name the image and the device; 'imagebuilder flash --list' lists devices")
	}
	return nil
}

func (f *flashFlags) run(cmd *cobra.Command, args []string) error {
	switch {
	case f.list:
		return listDevices(cmd, f.cards.opt.Force, f.asJSON)
	case len(f.nodes) > 0:
		f.cards.wanted = parseNodeDevices(f.nodes)
		return f.cards.flash(cmd, args)
	}
	return f.image(cmd, args[0], args[1])
}

// image writes an image that is named.
func (f *flashFlags) image(cmd *cobra.Command, image, device string) error {
	from, err := boardSources(f.boards)
	if err != nil {
		return err
	}
	opt := f.cards.opt
	var config *node.Config
	if f.config != "" {
		var data []byte
		if config, data, err = loadNode(f.config); err != nil {
			return err
		}
		of := flashNode(config, data)
		opt.Node = &of
	}
	u := newUI(cmd, f.cards.quiet)
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
	if err := w.Flush(); err != nil || f.cards.quiet {
		return err
	}
	load := func(name string) (*board.Board, error) { return board.Load(name, from...) }
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

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// nodeImages builds images for nodes.
type nodeImages struct {
	fleet  *fleet.Fleet
	quiet  bool
	inputs inputFlags
}

// nodeImage is an image of board, with the fleet's additions for the board stands, usually
// the same.
type nodeImage struct {
	board, stands string
	controls      bool
}

// build builds each image once, and returns the files in the order of wanted. Wrong flags
// are reported before the first build.
func (n *nodeImages) build(cmd *cobra.Command, wanted []nodeImage) (files []string, err error) {
	var builds []*buildFlags
	for _, w := range wanted {
		b := n.flags(w)
		if err := b.load(); err != nil {
			return nil, err
		}
		files = append(files, b.opt.Out)
		if !slices.ContainsFunc(builds, func(have *buildFlags) bool { return have.opt.Out == b.opt.Out }) {
			builds = append(builds, b)
		}
	}
	if err := n.inputs.apply(builds...); err != nil {
		return nil, err
	}
	for _, b := range builds {
		result, err := b.build(cmd)
		if err != nil {
			return nil, err
		}
		if err := tellRemarks(cmd.ErrOrStderr(), result); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// tellRemarks prints an image's remarks with its name, as there may be several images.
// --quiet does not suppress this: the user must know that a node will have to fetch its k3s.
func tellRemarks(out io.Writer, r *image.Result) error {
	var text strings.Builder
	w := newTable(&text)
	printRemarks(w, r)
	if err := w.Flush(); err != nil || text.Len() == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "%s:\n%s", r.Image, text.String())
	return err
}

// flags are the flags for "build". An image for a board that stands in for another gets a
// file name of its own if its content differs from that of the board's usual image; so does
// the image with Headscale.
func (n *nodeImages) flags(w nodeImage) *buildFlags {
	more, images := n.extras(w.stands, w.controls)
	own, ownImages := n.extras(w.board, w.controls)
	b := &buildFlags{board: w.board, boards: n.fleet.OwnBoards(), overlayDir: n.fleet.OwnOverlays(), quiet: n.quiet, components: slices.Concat(more, n.inputs.components)}
	b.opt.Images, b.opt.Overlays = images, fleet.OverlaysFor(w.controls)
	switch {
	case w.controls:
		b.opt.Out = "dist/" + w.board + "-headscale.img"
	case !slices.Equal(more, own) || !slices.Equal(images, ownImages):
		b.opt.Out = "dist/" + w.board + "-for-" + w.stands + ".img"
	}
	return b
}

// extras are the fleet's additions to the image of a board.
func (n *nodeImages) extras(board string, controls bool) (components, images []string) {
	return n.fleet.ComponentsFor(board, controls), n.fleet.ImagesFor(board, controls)
}

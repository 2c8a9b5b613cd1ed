package plan

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/overlay"
)

// Carrier is a disk image that contains container images, which k3s finds without a
// registry.
type Carrier struct {
	Board string `json:"board"`
	// Control says that it is the image with Headscale.
	Control bool     `json:"control,omitempty"`
	Nodes   []string `json:"nodes"`  // that are written from this image
	Images  []string `json:"images"` // full names, with digests if given

	refs []reference.Reference
}

// carriers lists the disk images that contain container images, in the order of their nodes.
func carriers(f *fleet.Fleet, overlays fs.FS) ([]Carrier, error) {
	if own := f.OwnOverlays(); own != "" {
		overlays = overlay.FS(os.DirFS(own), overlays)
	}
	all := []Carrier{}
	for _, name := range f.Nodes.Names {
		n, err := f.Find(name)
		if err != nil {
			return nil, err
		}
		control := n.Role.Controls()
		if i := slices.IndexFunc(all, func(c Carrier) bool { return c.Board == n.Board && c.Control == control }); i >= 0 {
			all[i].Nodes = append(all[i].Nodes, name)
			continue
		}
		b, err := f.Board(n.Board)
		if err != nil {
			return nil, err
		}
		refs, err := carried(f, b, control, overlays)
		if err != nil {
			return nil, fmt.Errorf("images of board %s: %w", n.Board, err)
		}
		all = append(all, Carrier{Board: n.Board, Control: control, Nodes: []string{name}, Images: texts(refs), refs: refs})
	}
	return slices.DeleteFunc(all, func(c Carrier) bool { return len(c.refs) == 0 }), nil
}

// carried are the container images that a build would include.
func carried(f *fleet.Fleet, b *board.Board, control bool, overlays fs.FS) ([]reference.Reference, error) {
	loaded, err := overlay.LoadAll(overlays, slices.Concat(b.Overlays, fleet.OverlaysFor(control)))
	if err != nil {
		return nil, err
	}
	return overlay.Images(slices.Concat(b.Images, f.ImagesFor(b.Name, control)), loaded)
}

func texts(refs []reference.Reference) (list []string) {
	for _, r := range refs {
		list = append(list, r.String())
	}
	return list
}

func (c Carrier) text(b *strings.Builder) {
	what := c.Board
	if c.Control {
		what += " with Headscale"
	}
	fmt.Fprintf(b, "\ncontainer images on %s (%s)\n", strings.Join(c.Nodes, ", "), what)
	for _, image := range c.Images {
		fmt.Fprintf(b, "   %s\n", image)
	}
}

// latest warns about tags whose meaning is fixed only when an image is built.
func latest(_ *fleet.Fleet, p *Plan) (out []Warning) {
	for _, c := range p.Carriers {
		for _, r := range c.refs {
			summary, remedy := r.Warning()
			if w := (Warning{"latest", summary, remedy}); summary != "" && !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	return out
}

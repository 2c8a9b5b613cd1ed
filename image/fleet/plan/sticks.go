package plan

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// sticks warns at home about what an installation stick will stop at, and what it assumes:
// at a remote site it would cost a journey.
func sticks(f *fleet.Fleet, p *Plan) (out []Warning) {
	for _, n := range p.all(node.Server, node.Witness, node.Agent, node.Control) {
		of, _ := f.Nodes.Get(n.Name)
		if of.Install == nil {
			continue
		}
		switch {
		case n.Card:
			out = append(out, Warning{"install-pi", fmt.Sprintf("%s cannot be installed from a stick: its board is a Raspberry Pi.", n.Name),
				"Take install: away, and write the image onto the card that it starts from; dataDisk: puts its data onto a disk."})
		case of.Install.Disk.Only && (of.DataDisk != (node.Disk{}) || of.Longhorn.Disk != (node.Disk{})):
			out = append(out, Warning{"install-only", fmt.Sprintf("%s is to be installed on its only disk, but has a second one: the stick will stop and ask.", n.Name),
				"Name the disk in install: disk: by serial, or by model and size."})
		}
		if of.Install.ReplaceData {
			out = append(out, Warning{"install-replaces", fmt.Sprintf("Every new stick of %s replaces the data of the node that it finds on the disk.", n.Name),
				"Take replaceData: true away when the node is installed."})
		}
	}
	return out
}

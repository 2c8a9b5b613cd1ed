package fleet

import (
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Roles are what a machine does: one role, or control and witness together.
type Roles []node.Role

// UnmarshalYAML reads one role, or a list of them.
func (r *Roles) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*r = Roles{node.Role(n.Value)}
		return nil
	}
	return n.Decode((*[]node.Role)(r))
}

// In is the role in the node's own node.yaml: for [control, witness] it is witness.
func (r Roles) In() node.Role {
	if len(r) > 1 && r[0] == node.Control {
		return r[1]
	}
	if len(r) == 0 {
		return ""
	}
	return r[0]
}

// Controls says that the node runs Headscale.
func (r Roles) Controls() bool { return slices.Contains(r, node.Control) }

// Control is the node that runs the fleet's Headscale, "" if somebody else runs it.
func (f *Fleet) Control() string {
	for _, name := range f.Nodes.Names {
		if f.Nodes.by[name].Role.Controls() {
			return name
		}
	}
	return ""
}

package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Storage says how data lie on disks.
type Storage struct {
	// Encrypt encrypts everything that the cluster stores on a node. One share of the key is on
	// its disk, the other with the servers, witnesses and the VPS at other sites.
	Encrypt *bool `yaml:"encrypt"`
}

// Encrypts says whether a node's data are encrypted. The cluster's setting does not apply to
// the node that runs Headscale, which nobody could unlock.
func (f *Fleet) Encrypts(name string) bool {
	n := f.Nodes.by[name]
	switch own, all := n.Storage.Encrypt, f.Cluster.Storage.Encrypt; {
	case own != nil:
		return *own
	case n.Role.Controls():
		return false
	default:
		return all != nil && *all
	}
}

// Holders are the nodes that keep a share of a node's key: the voters, and the node that
// runs Headscale, at other sites. A thief who takes all machines of one site must not have
// both shares. Holders that are not encrypted themselves come first: they answer even if all
// nodes have just been switched on.
func (f *Fleet) Holders(name string) []string {
	var open, locked []string
	for _, other := range f.Nodes.Names {
		n := f.Nodes.by[other]
		switch {
		case n.Site == f.Nodes.by[name].Site || !n.Role.In().Votes() && !n.Role.Controls():
		case f.Encrypts(other):
			locked = append(locked, other)
		default:
			open = append(open, other)
		}
	}
	return append(open, locked...)
}

// OpenHolders are the Holders that are not encrypted themselves.
func (f *Fleet) OpenHolders(name string) []string {
	return slices.DeleteFunc(f.Holders(name), f.Encrypts)
}

// Encrypted lists the nodes whose data are encrypted.
func (f *Fleet) Encrypted() []string {
	return slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool { return !f.Encrypts(name) })
}

// holds says whether a node keeps a share of another node's key.
func (f *Fleet) holds(name string) bool {
	return slices.ContainsFunc(f.Encrypted(), func(other string) bool { return slices.Contains(f.Holders(other), name) })
}

// holderTags are the tags of nodes that may keep shares; no other node has one of them.
func holderTags() []string {
	return []string{RoleTag(node.Server), RoleTag(node.Witness), RoleTag(node.Control)}
}

func (f *Fleet) storageOf(name string) node.Storage {
	s := node.Storage{Encrypt: f.Encrypts(name), Hold: f.holds(name)}
	if s.Encrypt {
		s.Holders, s.HolderTags = f.Holders(name), holderTags()
	}
	return s
}

// storage requires for each encrypted node a holder that can unlock it after a general power
// cut: of two encrypted nodes, neither could start first.
func (c *checker) storage() {
	for _, name := range c.fleet.Encrypted() {
		n := c.fleet.Nodes.by[name]
		if n.Role.Controls() || len(c.fleet.OpenHolders(name)) > 0 { // the node's own rules refuse the first
			continue
		}
		at := []string{"cluster", "storage", "encrypt"}
		if n.Storage.Encrypt != nil {
			at = []string{"nodes", name, "storage", "encrypt"}
		}
		why := "it has no server, witness or VPS at another site"
		if all := c.fleet.Holders(name); len(all) > 0 {
			why = fmt.Sprintf("those at other sites (%s) are encrypted themselves", strings.Join(all, ", "))
		}
		c.Refuse(at, "nobody could unlock %s after a power cut: %s. Give the fleet a VPS (role: [control, witness]), or leave one of those as it is (storage: {encrypt: false})", name, why)
	}
}

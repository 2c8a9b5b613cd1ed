package node

import (
	"slices"
	"strconv"
)

// Storage says how a node's data lie on its disks.
type Storage struct {
	// Encrypt has all encrypted that the cluster keeps on the node. One share of the
	// key is on the disk, the other with the holders; a node that has begun so stays
	// so, and one that has data already does not begin.
	Encrypt bool `yaml:"encrypt,omitempty"`
	// Holders are the hostnames of nodes at other sites that keep the other share.
	Holders []string `yaml:"holders,omitempty"`
	// HolderTags are the tags of the tailnet of which a holder must bear one; default:
	// k3s.serverTags, or else those of this node.
	HolderTags []string `yaml:"holderTags,omitempty"`
	// Hold lets this node keep shares of others, and answer for them in the tailnet.
	Hold bool `yaml:"hold,omitempty"`
}

func (v *validator) storage(c *Config) {
	s := c.Storage
	for i, name := range s.Holders {
		at := "storage.holders." + strconv.Itoa(i)
		v.want(at, CheckHostname(name))
		switch {
		case name == c.Node:
			v.refuse(at, "is this node itself, which cannot unlock itself")
		case slices.Contains(s.Holders[:i], name):
			v.refuse(at, "is listed twice")
		}
	}
	switch {
	case s.Encrypt && c.Control != nil:
		v.refuse("storage.encrypt", "the node that runs Headscale cannot be encrypted: without it there is no tailnet, so nobody could unlock it")
	case s.Encrypt && c.Role == Control:
		v.refuse("storage.encrypt", "is for nodes of the cluster, which this one is not")
	case s.Encrypt && len(s.Holders) == 0:
		v.refuse("storage.holders", "is missing: the nodes at other sites that keep the other share of the key")
	case !s.Encrypt && len(s.Holders)+len(s.HolderTags) > 0:
		v.refuse("storage.encrypt", "is not true: then nobody keeps a share of the key")
	}
}

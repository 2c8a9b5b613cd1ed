package node

import (
	"slices"
	"strconv"
)

// Storage says how a node's data is stored on its disks.
type Storage struct {
	// Encrypt encrypts everything that the cluster keeps on the node. One share of the key is on
	// the disk, the other is kept by the holders. A node that has begun with encryption stays
	// encrypted, and one that already has data does not begin with it.
	Encrypt bool `yaml:"encrypt,omitempty"`
	// Holders are the hostnames of nodes at other sites that keep the other share.
	Holders []string `yaml:"holders,omitempty"`
	// HolderTags are tags of the tailnet. A holder must have one of them; default: k3s.serverTags,
	// or else the tags of this node.
	HolderTags []string `yaml:"holderTags,omitempty"`
	// Hold lets this node keep shares of other nodes and give them out in the tailnet.
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

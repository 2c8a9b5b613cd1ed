package fleet

import (
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Room returns an error if a node.yaml does not fit into the space reserved for it on a
// card. The error names the field of fleet.yaml that takes most of that space.
func (f *Fleet) Room(c *node.Config) error {
	size, err := node.Size(c)
	if err != nil || size <= node.ReservedSize {
		return err
	}
	most := ""
	if field, takes := f.largest(c, size); takes > 0 {
		most = fmt.Sprintf("; %s takes %d", field, takes)
	}
	return fmt.Errorf("%s: %w (%d of %d bytes%s)", c.Node, node.ErrTooLong, size, node.ReservedSize, most)
}

// largest is the field that takes most of a node.yaml of this size, among those that its
// owner could do without.
func (f *Fleet) largest(c *node.Config, size int) (field string, takes int) {
	measure := func(name string, lacks node.Config) {
		if rest, err := node.Size(&lacks); err == nil && size-rest > takes {
			field, takes = name, size-rest
		}
	}
	n, _ := f.Nodes.Get(c.Node)
	for i := range n.Files {
		lacks := *c
		lacks.Files = slices.Delete(slices.Clone(c.Files), i, i+1)
		measure(fmt.Sprintf("nodes.%s.files[%d]", c.Node, i), lacks)
	}
	for i, s := range f.Cluster.Secrets {
		lacks := *c
		lacks.K3s.Seed.Secrets = slices.DeleteFunc(slices.Clone(c.K3s.Seed.Secrets), func(is node.Secret) bool {
			return is.Namespace == s.Namespace && is.Name == s.Name
		})
		measure(fmt.Sprintf("cluster.secrets[%d]", i), lacks)
	}
	return field, takes
}

// Package deb reads Debian binary packages (deb(5)) into nodes of a file tree, without
// unpacking anything onto the host.
//
// A package is decoded once: its files are stored uncompressed in one derived file of the
// cache, together with an index. Later reads use that file.
//
// It refuses what no package of the archive contains and what might mislead later steps:
// device nodes, FIFOs, absolute paths and "..", paths below a symbolic link, two entries
// with one path, hard links to anything but an earlier file of the same package, members in
// the wrong order, and archives that exceed the limits of this package. It neither runs nor
// judges maintainer scripts. It takes owners by number, because no user database of the
// target exists yet.
package deb

import (
	"github.com/going-mobile/imagebuilder/firstboot/deb822"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Package is one decoded binary package. It may be shared, so it must not be changed.
type Package struct {
	Name, Version, Architecture string
	// Control is the control paragraph, verbatim.
	Control string
	// ControlFiles holds every other member of control.tar by name:
	// "postinst", "conffiles", "md5sums", "triggers" and so on.
	ControlFiles map[string]string
	// Nodes are the entries of data.tar in archive order. Their Source is
	// "NAME VERSION". A hard link names an earlier node that has the content.
	Nodes []*tree.Node
	// SHA256 is the digest of the .deb in lower-case hex.
	SHA256 string
}

// Origin returns name and version of the source package that p was built from.
func (p *Package) Origin() (name, version string) {
	return deb822.Source(deb822.Field(p.Control, "Source"), p.Name, p.Version)
}

// limits bound what a package may unpack to. The largest packages of trixie are far below
// them; they stop archives that are made to fill the disk.
type limits struct {
	data    int64 // bytes of all regular files together
	control int64 // bytes of all control files together
	entries int   // entries of data.tar
}

var defaultLimits = limits{data: 4 << 30, control: 16 << 20, entries: 1 << 20}

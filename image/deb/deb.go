// Package deb reads Debian binary packages, as deb(5) describes them, into
// nodes of a file tree, without unpacking anything onto the host.
//
// A package is decoded once: its files go uncompressed into one derived file
// of the cache, together with an index, and are read from there ever after.
//
// It refuses what no package of the archive contains and what could lead a
// later step astray: device nodes, FIFOs, absolute paths and "..", paths below
// a symbolic link, two entries of one path, hard links to anything but an
// earlier file of the same package, members in the wrong order, and archives
// that grow beyond the limits of this package. It runs no maintainer script
// and does not judge them; it takes owners by number, as no user database of
// the target exists yet.
package deb

import (
	"github.com/going-mobile/imagebuilder/firstboot/deb822"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Package is one decoded binary package. It must not be changed: it may be
// shared.
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

// Origin returns the source package that p was built from.
func (p *Package) Origin() (name, version string) {
	return deb822.Source(deb822.Field(p.Control, "Source"), p.Name, p.Version)
}

// Limits on what a package may unpack to. The largest of trixie is far below:
// they stop archives made to fill the disk.
type limits struct {
	data    int64 // bytes of all regular files together
	control int64 // bytes of all control files together
	entries int   // entries of data.tar
}

var defaultLimits = limits{data: 4 << 30, control: 16 << 20, entries: 1 << 20}

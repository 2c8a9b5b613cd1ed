package rootfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// ofOverlay reports whether n comes from an overlay.
func ofOverlay(n *tree.Node) bool { return strings.HasPrefix(n.Source, "overlay ") }

// madeHere maps the files that the build always writes or removes, whatever an overlay
// brings there, to what an overlay should do instead.
var madeHere = map[string]string{
	"etc/passwd":                        "declare users: in overlay.yaml",
	"etc/shadow":                        "declare users: in overlay.yaml",
	"etc/group":                         "declare groups: in overlay.yaml",
	"etc/gshadow":                       "declare groups: in overlay.yaml",
	"etc/ssl/certs/ca-certificates.crt": "put authorities below /usr/local/share/ca-certificates, or name those to trust in /etc/ca-certificates.conf",
	"usr/lib/systemd/system-preset/10-imagebuilder.preset": "declare enable: and disable: in overlay.yaml",
	"usr/lib/systemd/system-preset/99-default.preset":      "declare enable: and disable: in overlay.yaml",
	"etc/machine-id":                "each node makes its own",
	"etc/iscsi/initiatorname.iscsi": "each node makes its own",
	"etc/udev/hwdb.d":               "an image has no hwdb: write a rule of udev",
	"usr/lib/udev/hwdb.d":           "an image has no hwdb: write a rule of udev",
	"usr/lib/systemd/catalog":       "an image has no catalog of the journal",
	"usr/local/lib/systemd/catalog": "an image has no catalog of the journal",
	"etc/systemd/catalog":           "an image has no catalog of the journal",
}

// checkOverlaid refuses files of overlays that would have no effect. An image that lacks an
// ssh key, or has a file with another mode than its overlay says, would look like any
// other.
func checkOverlaid(s *state, overlays []*overlay.Overlay) error {
	lines, err := s.tmpfileLines()
	if err != nil {
		return err
	}
	var faults []error
	for _, o := range overlays {
		for n := range o.Files.Walk() {
			var err error
			if !n.Mode.IsDir() {
				err = s.checkLaid(n)
			} else if slices.Contains(o.Dirs, n.Path) {
				err = s.checkLaidDir(n, lines)
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("overlay %s: /%s: %w", o.Name, n.Path, err))
			}
		}
	}
	return errors.Join(faults...)
}

// checkLaid refuses a file or link that the build removes, replaces or writes itself.
func (s *state) checkLaid(n *tree.Node) error {
	real, err := s.real(n.Path)
	if err != nil {
		return err
	}
	for p := real; p != "."; p = path.Dir(p) {
		if instead := madeHere[p]; instead != "" {
			return fmt.Errorf("has no effect, as the build makes /%s itself: %s", p, instead)
		}
	}
	have := s.tree.Get(real)
	switch {
	case have == nil:
		return errors.New("the build removes it; put it elsewhere")
	case have.Mode.Type() != n.Mode.Type() && have.Link == "/dev/null":
		return errors.New("is a unit that an overlay masks")
	case have.Mode.Type() != n.Mode.Type():
		return fmt.Errorf("is something else in the image, by %s; put it elsewhere", have.Source)
	}
	return s.checkWay(real)
}

// checkWay refuses a file below /var that systemd-tmpfiles would not make on a node. In a
// directory that is not root's, systemd-tmpfiles does not descend into a directory of
// another owner (unsafe_transition in its source). The parent directories of an overlay's
// file belong to root unless the overlay declares them.
func (s *state) checkWay(name string) error {
	if !strings.HasPrefix(name, "var/") {
		return nil
	}
	for dir := path.Dir(name); dir != "var"; dir = path.Dir(dir) {
		inner, outer := s.tree.Get(dir), s.tree.Get(path.Dir(dir))
		if inner != nil && outer != nil && outer.UID != 0 && inner.UID != outer.UID {
			return fmt.Errorf("would not be made on a node: /%s is not root's, and systemd-tmpfiles goes on from there into no directory of another owner: declare /%s under dirs: with the owner of /%s", outer.Path, dir, outer.Path)
		}
	}
	return nil
}

// checkLaidDir refuses a directory whose owner or mode is set elsewhere, in the image or by
// tmpfiles.d.
func (s *state) checkLaidDir(n *tree.Node, lines []tmpfile) error {
	have, err := s.tree.Resolve(n.Path)
	if err != nil {
		return err
	}
	if have.Mode != n.Mode || have.UID != n.UID || have.GID != n.GID {
		return fmt.Errorf("is %04o %d:%d in the image, by %s", unixPerm(have.Mode), have.UID, have.GID, have.Source)
	}
	for _, t := range lines {
		if t.path != have.Path || !t.creates() {
			continue
		}
		perm, uid, gid, err := s.tmpfileOwner(t, 0o755)
		if err != nil {
			return err
		}
		if perm != n.Mode&^n.Mode.Type() || uid != n.UID || gid != n.GID {
			return fmt.Errorf("is %04o %d:%d on a node, by /%s; a file /etc/tmpfiles.d/%s of the overlay takes its place",
				unixPerm(perm), uid, gid, t.where, path.Base(t.where))
		}
	}
	return nil
}

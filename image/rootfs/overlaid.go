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

// ofOverlay reports whether an overlay brought n.
func ofOverlay(n *tree.Node) bool { return strings.HasPrefix(n.Source, "overlay ") }

// madeHere are files that the build writes, or drops, whatever an overlay has
// there, with what an overlay does instead.
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

// checkOverlaid refuses what an overlay brings for nothing: an image without
// an ssh key or with another mode than its overlay says would look like any other.
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

// checkLaid refuses a file or link that is not in the root as what it was.
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

// checkWay refuses what systemd-tmpfiles would not make on a node: where a directory is
// not root's, one in it is to be of the same owner (its unsafe_transition), and the
// directories that lead to a file are root's unless declared.
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

// checkLaidDir refuses a directory whose owner or mode others decide.
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

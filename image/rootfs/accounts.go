package rootfs

import (
	"io/fs"

	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/rootfs/accounts"
	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// makeAccounts collects the users and groups of packages and overlays and writes the
// account files.
func makeAccounts(s *state, overlays []*overlay.Overlay) error {
	return firstError(
		apply(s, accountEffects[:1]),
		s.accounts.AddOverlays(overlays),
		apply(s, accountEffects[1:]),
		s.accounts.AddMembers(overlays),
		writeAccounts(s),
	)
}

// basePasswd reads the users and groups that every Debian system has.
func basePasswd(s *state) error {
	users, err := s.text("usr/share/base-passwd/passwd.master")
	if err != nil {
		return err
	}
	groups, err := s.text("usr/share/base-passwd/group.master")
	if err != nil {
		return err
	}
	return s.accounts.AddMasters(users, groups)
}

func addSystemUsers(s *state) error {
	return s.accounts.AddSystem(func(pkg string) bool { return s.has(pkg) })
}

func sysusers(s *state) error {
	files, err := confdir.Read(s.tree, "sysusers.d", ".conf")
	if err != nil {
		return err
	}
	return s.accounts.AddSysusers(files)
}

// writeAccounts writes the account files once every effect and overlay has added its users
// and groups.
func writeAccounts(s *state) error {
	for _, f := range s.accounts.Files() {
		n := tree.Node{Mode: 0o644, Content: tree.String(f.Text)}
		if f.Secret {
			n.Mode, n.GID = fs.FileMode(0o640), accounts.ShadowGID
		}
		if f.Text == "" && s.exists(f.Path) {
			continue // an overlay brings its own
		}
		if err := s.put(f.Path, n); err != nil {
			return err
		}
	}
	return nil
}

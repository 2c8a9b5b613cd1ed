package rootfs

import (
	"fmt"
	"io/fs"
)

// override is an owner and mode that a maintainer script gives to a file of its package.
type override struct {
	pkg         string
	path        string
	perm        fs.FileMode
	user, group string
	recorded    bool // by dpkg-statoverride in its database
}

var overrides = []override{
	{"dbus", "usr/lib/dbus-1.0/dbus-daemon-launch-helper", fs.ModeSetuid | 0o754, "root", "messagebus", true},
	{"openssh-client", "usr/bin/ssh-agent", fs.ModeSetgid | 0o755, "root", "_ssh", false},
	{"nfs-common", "var/lib/nfs/sm", 0o755, "statd", "nogroup", false},
	{"nfs-common", "var/lib/nfs/sm.bak", 0o755, "statd", "nogroup", false},
}

// statOverrides applies the owners and modes, once the users exist.
func statOverrides(s *state) error {
	for _, o := range overrides {
		if !s.has(o.pkg) || !s.exists(o.path) {
			continue
		}
		uid, gid, err := s.owner(o.user, o.group)
		if err != nil {
			return fmt.Errorf("%s: %w", o.path, err)
		}
		if err := s.restat(o.path, o.perm, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// owner returns the uid and gid of a user and a group.
func (s *state) owner(userName, groupName string) (uid, gid uint32, err error) {
	u, g := s.accounts.User(userName), s.accounts.Group(groupName)
	if u == nil {
		return 0, 0, fmt.Errorf("there is no user %q", userName)
	}
	if g == nil {
		return 0, 0, fmt.Errorf("there is no group %q", groupName)
	}
	return u.UID, g.GID, nil
}

// statOverrideFile is the database of dpkg-statoverride(1).
func (s *state) statOverrideFile() string {
	text := ""
	for _, o := range overrides {
		if o.recorded && s.has(o.pkg) {
			text += fmt.Sprintf("%s %s %o /%s\n", o.user, o.group, unixPerm(o.perm), o.path)
		}
	}
	return text
}

// unixPerm converts permissions to the bits of chmod(2).
func unixPerm(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

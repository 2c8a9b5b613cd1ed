package rootfs

// systemUser is a user that a maintainer script makes with adduser(8), not
// through sysusers.d.
type systemUser struct {
	pkg   string
	name  string
	home  string
	group string // of the same name, or nogroup
}

var systemUsers = []systemUser{
	{"rpcbind", "_rpc", "/run/rpcbind", "nogroup"},
	{"nfs-common", "statd", "/var/lib/nfs", "nogroup"},
	{"tcpdump", "tcpdump", "/nonexistent", "tcpdump"},
}

// systemGroups are made with addgroup(8) by the package.
var systemGroups = []struct{ pkg, name string }{
	{"openssh-client", "_ssh"},
	{"wpasupplicant", "netdev"},
	{"tcpdump", "tcpdump"},
}

// addSystemUsers adds the users and groups of scripts that call adduser.
func addSystemUsers(s *state) error {
	for _, g := range systemGroups {
		if !s.has(g.pkg) || s.accounts.group(g.name) != nil {
			continue
		}
		gid, err := pinnedGID(g.name, g.pkg)
		if err != nil {
			return err
		}
		if err := s.accounts.addGroup(group{name: g.name, gid: gid, password: adduserPwd}); err != nil {
			return err
		}
	}
	for _, u := range systemUsers {
		if !s.has(u.pkg) || s.accounts.user(u.name) != nil {
			continue
		}
		if err := s.addSystemUser(u); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) addSystemUser(u systemUser) error {
	uid, err := pinnedUID(u.name, u.pkg)
	if err != nil {
		return err
	}
	gid := uint32(noGroup)
	if g := s.accounts.group(u.group); g != nil {
		gid = g.gid
	}
	return s.accounts.addUser(user{name: u.name, uid: uid, gid: gid, home: u.home,
		shell: noLogin, password: adduserPwd, aging: ":::::"})
}

package accounts

// systemUser is a user that a maintainer script makes with adduser(8) rather than through
// sysusers.d.
type systemUser struct {
	pkg   string
	name  string
	home  string
	group string // the user's own name, or nogroup
}

var systemUsers = []systemUser{
	{"rpcbind", "_rpc", "/run/rpcbind", "nogroup"},
	{"nfs-common", "statd", "/var/lib/nfs", "nogroup"},
	{"tcpdump", "tcpdump", "/nonexistent", "tcpdump"},
}

// systemGroups are made with addgroup(8) in the package's scripts.
var systemGroups = []struct{ pkg, name string }{
	{"openssh-client", "_ssh"},
	{"wpasupplicant", "netdev"},
	{"tcpdump", "tcpdump"},
}

// AddSystem adds the users and groups that the scripts of the installed packages make with
// adduser and addgroup.
func (a *Table) AddSystem(installed func(pkg string) bool) error {
	for _, g := range systemGroups {
		if !installed(g.pkg) || a.Group(g.name) != nil {
			continue
		}
		gid, err := pinnedGID(g.name, g.pkg)
		if err != nil {
			return err
		}
		if err := a.addGroup(Group{Name: g.name, GID: gid, password: adduserPwd}); err != nil {
			return err
		}
	}
	for _, u := range systemUsers {
		if !installed(u.pkg) || a.User(u.name) != nil {
			continue
		}
		if err := a.addSystemUser(u); err != nil {
			return err
		}
	}
	return nil
}

func (a *Table) addSystemUser(u systemUser) error {
	uid, err := pinnedUID(u.name, u.pkg)
	if err != nil {
		return err
	}
	gid := uint32(noGroup)
	if g := a.Group(u.group); g != nil {
		gid = g.GID
	}
	return a.addUser(User{Name: u.name, UID: uid, GID: gid, home: u.home,
		shell: noLogin, password: adduserPwd, aging: ":::::"})
}

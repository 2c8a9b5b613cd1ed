package accounts

import (
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
)

// AddSysusers evaluates sysusers.d(5) files, which systemd-sysusers reads in the scripts of
// systemd, udev, dbus and others, but takes numbers that are left open from pins.
func (a *Table) AddSysusers(files []confdir.File) error {
	var later []sysuser // memberships need their users, and users need their groups
	for _, f := range files {
		for _, line := range confdir.Lines(f.Text) {
			u, err := parseSysuser(line, f.Path)
			if err != nil {
				return err
			}
			if u.kind != 'g' {
				later = append(later, u)
			} else if err := a.addSysGroup(u.name, u.id, u.where); err != nil {
				return err
			}
		}
	}
	for _, kind := range []byte{'u', 'm'} {
		for _, u := range later {
			if u.kind != kind {
				continue
			}
			if err := a.addSysuser(u); err != nil {
				return err
			}
		}
	}
	return nil
}

// sysuser is one line of sysusers.d(5).
type sysuser struct {
	kind   byte // u, g, m or r
	locked bool // u!: expired as well
	name   string
	id     string // "-", "998", "5:60", "-:nogroup"; for m: the group
	gecos  string
	home   string
	shell  string
	where  string // the file, for errors
}

func parseSysuser(line, where string) (sysuser, error) {
	fail := func(why string) (sysuser, error) {
		return sysuser{}, fmt.Errorf("%s: line %q: %s", where, line, why)
	}
	f, rest, err := confdir.Fields(line, 6)
	if err != nil {
		return fail(err.Error())
	}
	if len(f) < 2 || rest != "" {
		return fail("2 to 6 fields expected")
	}
	for len(f) < 6 {
		f = append(f, "-")
	}
	for i := range f {
		if strings.Contains(strings.ReplaceAll(f[i], "%%", ""), "%") {
			return fail("specifiers are not supported")
		}
		f[i] = strings.ReplaceAll(f[i], "%%", "%")
	}
	kind, locked := strings.CutSuffix(f[0], "!")
	if !strings.Contains("u g m r", kind) || len(kind) != 1 || locked && kind != "u" {
		return fail("unknown type")
	}
	if strings.HasPrefix(f[2], "/") {
		return fail("numbers by the owner of a file are not supported")
	}
	return sysuser{kind[0], locked, f[1], f[2], confdir.Or(f[3], ""), confdir.Or(f[4], "/"), confdir.Or(f[5], noLogin), where}, nil
}

func (a *Table) addSysuser(u sysuser) error {
	if u.kind == 'm' {
		if err := a.addMember(u.name, u.id); err != nil {
			return fmt.Errorf("%s: %w", u.where, err)
		}
		return nil
	}
	if a.User(u.name) != nil {
		return nil
	}
	uidText, gidText, both := strings.Cut(u.id, ":")
	uid, err := number(uidText, u.name, u.where, pinnedUID)
	if err != nil {
		return err
	}
	gid, err := a.primaryGroup(u, uidText, gidText, both)
	if err != nil {
		return err
	}
	aging := ":::::"
	if u.locked {
		aging = "::::1:"
	}
	return a.addUser(User{u.name, uid, gid, u.gecos, u.home, u.shell, sysusersPw, aging})
}

// primaryGroup returns the gid of the group named after the colon of a user's id. If there
// is none, it makes the group with the user's own name.
func (a *Table) primaryGroup(u sysuser, uid, gid string, named bool) (uint32, error) {
	if !named {
		if err := a.addSysGroup(u.name, uid, u.where); err != nil {
			return 0, err
		}
		return a.Group(u.name).GID, nil
	}
	if g := a.Group(gid); g != nil {
		return g.GID, nil
	}
	n, err := parseID(gid)
	if err != nil {
		return 0, fmt.Errorf("%s: user %s: there is no group %s", u.where, u.name, gid)
	}
	return n, nil
}

func (a *Table) addSysGroup(name, id, where string) error {
	if a.Group(name) != nil {
		return nil
	}
	gid, err := number(id, name, where, pinnedGID)
	if err != nil {
		return err
	}
	return a.addGroup(Group{Name: name, GID: gid, password: sysusersPw})
}

// number returns the explicit number of a line, or else the pinned one.
func number(text, name, where string, pinned func(name, where string) (uint32, error)) (uint32, error) {
	if confdir.Or(text, "") == "" {
		return pinned(name, where)
	}
	n, err := parseID(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", where, name, err)
	}
	return n, nil
}

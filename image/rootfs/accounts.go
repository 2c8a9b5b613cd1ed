package rootfs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	shadowGID  = 42
	noGroup    = 65534
	noLogin    = "/usr/sbin/nologin"
	noPassword = "*"  // as in passwd.master
	adduserPwd = "!"  // what adduser --system leaves
	sysusersPw = "!*" // what systemd-sysusers leaves
)

// user is a line of passwd(5) and shadow(5).
type user struct {
	name     string
	uid, gid uint32
	gecos    string
	home     string
	shell    string
	password string // the second field of shadow(5)
	aging    string // its fields after the day of the last change
}

// group is a line of group(5) and gshadow(5).
type group struct {
	name     string
	gid      uint32
	members  []string
	password string // the second field of gshadow(5)
}

// accounts are the users and groups of the image, in the order of their files.
type accounts struct {
	day    int64 // of the last password change: days since 1970
	users  []user
	groups []group
}

func newAccounts(epoch time.Time) *accounts {
	return &accounts{day: epoch.Unix() / (24 * 60 * 60)}
}

func (a *accounts) user(name string) *user {
	for i := range a.users {
		if a.users[i].name == name {
			return &a.users[i]
		}
	}
	return nil
}

func (a *accounts) group(name string) *group {
	for i := range a.groups {
		if a.groups[i].name == name {
			return &a.groups[i]
		}
	}
	return nil
}

func (a *accounts) groupByID(gid uint32) *group {
	for i := range a.groups {
		if a.groups[i].gid == gid {
			return &a.groups[i]
		}
	}
	return nil
}

// userName returns the name of a uid, or its number where it has none.
func (a *accounts) userName(uid uint32) string {
	for _, u := range a.users {
		if u.uid == uid {
			return u.name
		}
	}
	return strconv.FormatUint(uint64(uid), 10)
}

// groupName returns the name of a gid, or its number where it has none.
func (a *accounts) groupName(gid uint32) string {
	if g := a.groupByID(gid); g != nil {
		return g.name
	}
	return strconv.FormatUint(uint64(gid), 10)
}

// addUser appends u. A name or number that is taken is an error: two users of
// one uid would share their files for ever.
func (a *accounts) addUser(u user) error {
	for _, have := range a.users {
		if have.name == u.name || have.uid == u.uid {
			return fmt.Errorf("user %s (uid %d) clashes with %s (uid %d); give one of them another name or uid",
				u.name, u.uid, have.name, have.uid)
		}
	}
	if err := checkFields(u.name, u.gecos, u.home, u.shell); err != nil {
		return fmt.Errorf("user %q: %w", u.name, err)
	}
	a.users = append(a.users, u)
	return nil
}

// addGroup appends g under the same rule as addUser.
func (a *accounts) addGroup(g group) error {
	for _, have := range a.groups {
		if have.name == g.name || have.gid == g.gid {
			return fmt.Errorf("group %s (gid %d) clashes with %s (gid %d); give one of them another name or gid",
				g.name, g.gid, have.name, have.gid)
		}
	}
	if err := checkFields(g.name); err != nil {
		return fmt.Errorf("group %q: %w", g.name, err)
	}
	a.groups = append(a.groups, g)
	return nil
}

// addMember puts a user into a group.
func (a *accounts) addMember(user, group string) error {
	g := a.group(group)
	if g == nil {
		return fmt.Errorf("user %s: there is no group %s", user, group)
	}
	for _, m := range g.members {
		if m == user {
			return nil
		}
	}
	g.members = append(g.members, user)
	return nil
}

// checkFields refuses what would break out of a line or field.
func checkFields(fields ...string) error {
	for _, f := range fields {
		if strings.ContainsAny(f, ":\n\x00") {
			return fmt.Errorf("%q contains a colon or a line break", f)
		}
	}
	if fields[0] == "" {
		return fmt.Errorf("the name is empty")
	}
	return nil
}

// parsePasswd reads lines of passwd(5); shadow fields become those that
// shadowconfig(8) gives to every user of passwd.master.
func (a *accounts) parsePasswd(text string) error {
	for _, line := range lines(text) {
		f := strings.Split(line, ":")
		if len(f) != 7 {
			return fmt.Errorf("line %q has %d fields, not 7", line, len(f))
		}
		uid, err := parseID(f[2])
		if err != nil {
			return err
		}
		gid, err := parseID(f[3])
		if err != nil {
			return err
		}
		u := user{name: f[0], uid: uid, gid: gid, gecos: f[4], home: f[5], shell: f[6],
			password: noPassword, aging: "0:99999:7:::"}
		if err := a.addUser(u); err != nil {
			return err
		}
	}
	return nil
}

// parseGroup reads lines of group(5).
func (a *accounts) parseGroup(text string) error {
	for _, line := range lines(text) {
		f := strings.Split(line, ":")
		if len(f) != 4 {
			return fmt.Errorf("line %q has %d fields, not 4", line, len(f))
		}
		gid, err := parseID(f[2])
		if err != nil {
			return err
		}
		g := group{name: f[0], gid: gid, password: noPassword}
		if f[3] != "" {
			g.members = strings.Split(f[3], ",")
		}
		if err := a.addGroup(g); err != nil {
			return err
		}
	}
	return nil
}

// parseID reads a uid or gid. 65535 and 4294967295 mean "none" to the kernel.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 65535 || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is not a user or group number", s)
	}
	return uint32(n), nil
}

func (a *accounts) passwd() string {
	var b strings.Builder
	for _, u := range a.users {
		fmt.Fprintf(&b, "%s:x:%d:%d:%s:%s:%s\n", u.name, u.uid, u.gid, u.gecos, u.home, u.shell)
	}
	return b.String()
}

func (a *accounts) shadow() string {
	var b strings.Builder
	for _, u := range a.users {
		fmt.Fprintf(&b, "%s:%s:%d:%s\n", u.name, u.password, a.day, u.aging)
	}
	return b.String()
}

func (a *accounts) groupFile() string {
	var b strings.Builder
	for _, g := range a.groups {
		fmt.Fprintf(&b, "%s:x:%d:%s\n", g.name, g.gid, strings.Join(g.members, ","))
	}
	return b.String()
}

func (a *accounts) gshadow() string {
	var b strings.Builder
	for _, g := range a.groups {
		fmt.Fprintf(&b, "%s:%s::%s\n", g.name, g.password, strings.Join(g.members, ","))
	}
	return b.String()
}

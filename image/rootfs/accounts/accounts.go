// Package accounts collects the users and groups of an image from all the places where
// Debian defines them, and returns the text of passwd(5), group(5), shadow(5) and
// gshadow(5).
//
// Every uid and gid is pinned: /var outlives the image, and a user whose uid changed would
// lose its files. The package refuses names whose number would depend on the order of
// installation, and numbers that two names share. Of sysusers.d it refuses what no Debian
// package uses: specifiers, and numbers taken from the owner of a file. It does not touch a
// tree.
package accounts

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	noGroup    = 65534
	noLogin    = "/usr/sbin/nologin"
	noPassword = "*"  // as in passwd.master
	adduserPwd = "!"  // what adduser --system leaves
	sysusersPw = "!*" // what systemd-sysusers leaves
)

// User is a line of passwd(5) and shadow(5).
type User struct {
	Name     string
	UID, GID uint32
	gecos    string
	home     string
	shell    string
	password string // the second field of shadow(5)
	aging    string // the fields of shadow(5) after the day of the last change
}

// Group is a line of group(5) and gshadow(5).
type Group struct {
	Name     string
	GID      uint32
	members  []string
	password string // the second field of gshadow(5)
}

// Table holds the users and groups of an image, in the order of their files.
type Table struct {
	day    int64 // of the last password change: days since 1970
	users  []User
	groups []Group
}

// New returns an empty table. epoch is the day of every account's last password change.
func New(epoch time.Time) *Table {
	return &Table{day: epoch.Unix() / (24 * 60 * 60)}
}

// User returns the user with this name, or nil.
func (a *Table) User(name string) *User {
	for i := range a.users {
		if a.users[i].Name == name {
			return &a.users[i]
		}
	}
	return nil
}

// Group returns the group with this name, or nil.
func (a *Table) Group(name string) *Group {
	for i := range a.groups {
		if a.groups[i].Name == name {
			return &a.groups[i]
		}
	}
	return nil
}

func (a *Table) groupByID(gid uint32) *Group {
	for i := range a.groups {
		if a.groups[i].GID == gid {
			return &a.groups[i]
		}
	}
	return nil
}

// UserName returns the name of a uid, or the uid itself in decimal if it has no name.
func (a *Table) UserName(uid uint32) string {
	for _, u := range a.users {
		if u.UID == uid {
			return u.Name
		}
	}
	return strconv.FormatUint(uint64(uid), 10)
}

// GroupName returns the name of a gid, or the gid itself in decimal if it has no name.
func (a *Table) GroupName(gid uint32) string {
	if g := a.groupByID(gid); g != nil {
		return g.Name
	}
	return strconv.FormatUint(uint64(gid), 10)
}

// addUser appends u. It is an error if the name or uid is taken: two users with one uid
// would own each other's files.
func (a *Table) addUser(u User) error {
	for _, have := range a.users {
		if have.Name == u.Name || have.UID == u.UID {
			return fmt.Errorf("user %s (uid %d) clashes with %s (uid %d); give one of them another name or uid",
				u.Name, u.UID, have.Name, have.UID)
		}
	}
	if err := checkFields(u.Name, u.gecos, u.home, u.shell); err != nil {
		return fmt.Errorf("user %q: %w", u.Name, err)
	}
	a.users = append(a.users, u)
	return nil
}

// addGroup appends g under the same rule as addUser.
func (a *Table) addGroup(g Group) error {
	for _, have := range a.groups {
		if have.Name == g.Name || have.GID == g.GID {
			return fmt.Errorf("group %s (gid %d) clashes with %s (gid %d); give one of them another name or gid",
				g.Name, g.GID, have.Name, have.GID)
		}
	}
	if err := checkFields(g.Name); err != nil {
		return fmt.Errorf("group %q: %w", g.Name, err)
	}
	a.groups = append(a.groups, g)
	return nil
}

// addMember puts a user into a group.
func (a *Table) addMember(user, group string) error {
	g := a.Group(group)
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

// checkFields refuses characters that would end a field or line, and an empty first field,
// the name.
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

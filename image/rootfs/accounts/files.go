package accounts

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
)

// AddMasters adds the users and groups that every Debian system has, from the
// texts of base-passwd's passwd.master and group.master.
func (a *Table) AddMasters(passwd, group string) error {
	if err := a.parsePasswd(passwd); err != nil {
		return fmt.Errorf("passwd.master: %w", err)
	}
	if err := a.parseGroup(group); err != nil {
		return fmt.Errorf("group.master: %w", err)
	}
	return nil
}

// parsePasswd reads lines of passwd(5). The shadow fields are those that shadowconfig(8)
// gives to every user of passwd.master.
func (a *Table) parsePasswd(text string) error {
	for _, line := range confdir.Lines(text) {
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
		u := User{Name: f[0], UID: uid, GID: gid, gecos: f[4], home: f[5], shell: f[6],
			password: noPassword, aging: "0:99999:7:::"}
		if err := a.addUser(u); err != nil {
			return err
		}
	}
	return nil
}

// parseGroup reads lines of group(5).
func (a *Table) parseGroup(text string) error {
	for _, line := range confdir.Lines(text) {
		f := strings.Split(line, ":")
		if len(f) != 4 {
			return fmt.Errorf("line %q has %d fields, not 4", line, len(f))
		}
		gid, err := parseID(f[2])
		if err != nil {
			return err
		}
		g := Group{Name: f[0], GID: gid, password: noPassword}
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

// File is one of the account files.
type File struct {
	Path   string // in the tree
	Text   string
	Secret bool // readable by root and the group shadow only
}

// ShadowGID is the gid of the group shadow, which owns the secret files.
const ShadowGID = 42

// Files returns the account files. subuid and subgid stay empty: system users
// have none.
func (a *Table) Files() []File {
	return []File{
		{"etc/passwd", a.passwd(), false},
		{"etc/group", a.groupFile(), false},
		{"etc/shadow", a.shadow(), true},
		{"etc/gshadow", a.gshadow(), true},
		{"etc/subuid", "", false},
		{"etc/subgid", "", false},
	}
}

func (a *Table) passwd() string {
	var b strings.Builder
	for _, u := range a.users {
		fmt.Fprintf(&b, "%s:x:%d:%d:%s:%s:%s\n", u.Name, u.UID, u.GID, u.gecos, u.home, u.shell)
	}
	return b.String()
}

func (a *Table) shadow() string {
	var b strings.Builder
	for _, u := range a.users {
		fmt.Fprintf(&b, "%s:%s:%d:%s\n", u.Name, u.password, a.day, u.aging)
	}
	return b.String()
}

func (a *Table) groupFile() string {
	var b strings.Builder
	for _, g := range a.groups {
		fmt.Fprintf(&b, "%s:x:%d:%s\n", g.Name, g.GID, strings.Join(g.members, ","))
	}
	return b.String()
}

func (a *Table) gshadow() string {
	var b strings.Builder
	for _, g := range a.groups {
		fmt.Fprintf(&b, "%s:%s::%s\n", g.Name, g.password, strings.Join(g.members, ","))
	}
	return b.String()
}

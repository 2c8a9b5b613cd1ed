package overlay

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// mode is "0755", "0750 root:adm" or "1777 0:0": permissions in octal and, if it is not
// root, the owner.
type mode struct {
	set         bool
	perm        fs.FileMode
	user, group string
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *mode) UnmarshalYAML(n *yaml.Node) error {
	perm, owner, _ := strings.Cut(n.Value, " ")
	bits, err := strconv.ParseUint(perm, 8, 12)
	if err != nil || len(perm) != 4 || n.Kind != yaml.ScalarNode {
		return fmt.Errorf(`want four octal digits and maybe an owner, such as "0755" or "0640 root:adm"`)
	}
	*m = mode{set: true, perm: permissions(bits), user: "root", group: "root"}
	if owner == "" {
		return nil
	}
	user, group, ok := strings.Cut(owner, ":")
	if !ok || user == "" || group == "" || strings.ContainsAny(group, " :") {
		return fmt.Errorf("want the owner as user:group")
	}
	m.user, m.group = user, group
	return nil
}

// permissions converts the twelve bits of chmod(1) to Go's representation.
func permissions(bits uint64) fs.FileMode {
	perm := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			perm |= flag
		}
	}
	return perm
}

func (m mode) or(perm fs.FileMode) mode {
	if m.set {
		return m
	}
	return mode{set: true, perm: perm, user: "root", group: "root"}
}

// staticGroups are gids that never change in Debian (base-passwd's group.master). Any other
// group must be a number or a group of the overlay's own.
var staticGroups = map[string]uint32{"root": 0, "adm": 4, "tty": 5, "disk": 6, "mail": 8, "shadow": 42, "utmp": 43, "staff": 50, "nogroup": 65534}

func (l *loader) owner(m mode) (uid, gid uint32, err error) {
	uids, gids := map[string]uint32{"root": 0, "nobody": 65534}, map[string]uint32{}
	for name, id := range staticGroups {
		gids[name] = id
	}
	for _, g := range l.out.Groups {
		gids[g.Name] = g.GID
	}
	for _, u := range l.out.Users {
		uids[u.Name], gids[u.Name] = u.UID, u.GID
	}
	if uid, err = id(m.user, uids, "user"); err != nil {
		return 0, 0, err
	}
	gid, err = id(m.group, gids, "group")
	return uid, gid, err
}

func id(name string, known map[string]uint32, what string) (uint32, error) {
	if n, ok := known[name]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		if reserved(uint32(n)) {
			return 0, fmt.Errorf("%s %s: %s", what, name, reservedID)
		}
		return uint32(n), nil
	}
	return 0, fmt.Errorf("%s %q is not known here: write its number, or declare it in the overlay", what, name)
}

package rootfs

import (
	"fmt"
	"strings"
)

// sysusers evaluates sysusers.d(5), which systemd-sysusers would read in the
// scripts of systemd, udev, dbus and others, with the numbers of ids.go.
//
// It refuses what no package of Debian uses: specifiers, and numbers taken
// from the owner of a file.
func sysusers(s *state) error {
	files, err := s.configFiles("sysusers.d", ".conf")
	if err != nil {
		return err
	}
	var later []sysuser // members need their users, users their groups
	for _, f := range files {
		for _, line := range lines(f.text) {
			u, err := parseSysuser(line, f.path)
			if err != nil {
				return err
			}
			if u.kind != 'g' {
				later = append(later, u)
			} else if err := s.addSysGroup(u.name, u.id, u.where); err != nil {
				return err
			}
		}
	}
	for _, kind := range []byte{'u', 'm'} {
		for _, u := range later {
			if u.kind != kind {
				continue
			}
			if err := s.addSysuser(u); err != nil {
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
	id     string // "-", "998", "5:60", "-:nogroup"; of m: the group
	gecos  string
	home   string
	shell  string
	where  string // the file, for errors
}

func parseSysuser(line, where string) (sysuser, error) {
	fail := func(why string) (sysuser, error) {
		return sysuser{}, fmt.Errorf("%s: line %q: %s", where, line, why)
	}
	f, rest, err := splitFields(line, 6)
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
	return sysuser{kind[0], locked, f[1], f[2], undash(f[3], ""), undash(f[4], "/"), undash(f[5], noLogin), where}, nil
}

// undash returns def for the "-" or "" that leaves a field out.
func undash(s, def string) string {
	if s == "-" || s == "" {
		return def
	}
	return s
}

// splitFields splits the first fields of a line at blanks and returns the rest
// as it is; quotes keep blanks together, as in tmpfiles.d(5).
func splitFields(line string, most int) (fields []string, rest string, err error) {
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" || len(fields) == most {
			return fields, line, nil
		}
		var field string
		if field, line, err = cutField(line); err != nil {
			return nil, "", err
		}
		fields = append(fields, field)
	}
}

// cutField takes the first field off a line that does not begin with a blank.
func cutField(line string) (field, rest string, err error) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), line[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", fmt.Errorf("a quote is not closed")
	}
	return b.String(), "", nil
}

func (s *state) addSysuser(u sysuser) error {
	if u.kind == 'm' {
		if err := s.accounts.addMember(u.name, u.id); err != nil {
			return fmt.Errorf("%s: %w", u.where, err)
		}
		return nil
	}
	if s.accounts.user(u.name) != nil {
		return nil
	}
	uidText, gidText, both := strings.Cut(u.id, ":")
	uid, err := number(uidText, u.name, u.where, pinnedUID)
	if err != nil {
		return err
	}
	gid, err := s.primaryGroup(u, uidText, gidText, both)
	if err != nil {
		return err
	}
	aging := ":::::"
	if u.locked {
		aging = "::::1:"
	}
	return s.accounts.addUser(user{u.name, uid, gid, u.gecos, u.home, u.shell, sysusersPw, aging})
}

// primaryGroup finds the group named after the colon of a user's id, or makes
// the one of the user's own name.
func (s *state) primaryGroup(u sysuser, uid, gid string, named bool) (uint32, error) {
	if !named {
		if err := s.addSysGroup(u.name, uid, u.where); err != nil {
			return 0, err
		}
		return s.accounts.group(u.name).gid, nil
	}
	if g := s.accounts.group(gid); g != nil {
		return g.gid, nil
	}
	n, err := parseID(gid)
	if err != nil {
		return 0, fmt.Errorf("%s: user %s: there is no group %s", u.where, u.name, gid)
	}
	return n, nil
}

func (s *state) addSysGroup(name, id, where string) error {
	if s.accounts.group(name) != nil {
		return nil
	}
	gid, err := number(id, name, where, pinnedGID)
	if err != nil {
		return err
	}
	return s.accounts.addGroup(group{name: name, gid: gid, password: sysusersPw})
}

// number is the explicit number of a line or else the pinned one.
func number(text, name, where string, pinned func(name, where string) (uint32, error)) (uint32, error) {
	if undash(text, "") == "" {
		return pinned(name, where)
	}
	n, err := parseID(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", where, name, err)
	}
	return n, nil
}

package rootfs

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
)

// tmpfile is one line of tmpfiles.d(5), without the age field.
type tmpfile struct {
	kind     byte   // the type letter
	flags    string // the characters after the letter: "+", "!", "-", "=", "~", "^", "$"
	path     string // without the leading slash, as in a tree
	mode     string
	user     string
	group    string
	argument string
	where    string
}

// tmpfileLines returns the lines of all tmpfiles.d files.
func (s *state) tmpfileLines() ([]tmpfile, error) {
	files, err := confdir.Read(s.tree, "tmpfiles.d", ".conf")
	if err != nil {
		return nil, err
	}
	var out []tmpfile
	for _, f := range files {
		for _, line := range confdir.Lines(f.Text) {
			t, err := parseTmpfile(line, f.Path)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
	}
	return out, nil
}

func parseTmpfile(line, where string) (tmpfile, error) {
	const fields = 6 // the argument follows and is not split
	f, rest, err := confdir.Fields(line, fields)
	if err != nil || len(f) < 2 || f[0] == "" || !strings.HasPrefix(f[1], "/") {
		return tmpfile{}, fmt.Errorf("%s: cannot read line %q", where, line)
	}
	for len(f) < fields {
		f = append(f, "-")
	}
	return tmpfile{
		kind: f[0][0], flags: f[0][1:], path: strings.Trim(f[1], "/"),
		mode: confdir.Or(f[2], ""), user: confdir.Or(strings.TrimPrefix(f[3], ":"), ""), group: confdir.Or(strings.TrimPrefix(f[4], ":"), ""),
		argument: confdir.Or(rest, ""), where: where,
	}, nil
}

// creates reports whether the line makes something at boot, rather than adjusting or
// removing what exists.
func (t tmpfile) creates() bool {
	return strings.IndexByte("dDvqQeLfFCpcbw", t.kind) >= 0 && t.kind != 'w' && t.kind != 'e'
}

// etcTmpfiles makes the links and directories below /etc that systemd-tmpfiles would
// otherwise make at every boot, so that a node's /etc overlay stays empty. Boot-only lines
// ("!") and lines that take their content from credentials ("^") are left to the node.
func etcTmpfiles(s *state) error {
	all, err := s.tmpfileLines()
	if err != nil {
		return err
	}
	for _, t := range all {
		if !strings.HasPrefix(t.path, "etc/") || strings.ContainsAny(t.flags, "!^") || strings.Contains(t.path, "%") {
			continue
		}
		if err := s.applyTmpfile(t); err != nil {
			return fmt.Errorf("%s: /%s: %w", t.where, t.path, err)
		}
	}
	return nil
}

func (s *state) applyTmpfile(t tmpfile) error {
	switch {
	case t.kind == 'L' && strings.Contains(t.flags, "+"):
		return s.link(t.path, t.argument)
	case t.kind == 'L':
		return s.defaultLink(t.path, t.argument)
	case t.kind == 'd':
		perm, uid, gid, err := s.tmpfileOwner(t, 0o755)
		if err != nil {
			return err
		}
		return s.dir(t.path, perm, uid, gid)
	}
	return nil
}

// tmpfileOwner resolves a line's mode, user and group; perm is the default mode.
func (s *state) tmpfileOwner(t tmpfile, perm fs.FileMode) (fs.FileMode, uint32, uint32, error) {
	if t.mode != "" {
		n, err := strconv.ParseUint(strings.TrimLeft(t.mode, ":~"), 8, 12)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("mode %q is not octal", t.mode)
		}
		perm = goPerm(uint32(n))
	}
	uid, gid, err := s.owner(confdir.Or(t.user, "root"), confdir.Or(t.group, "root"))
	return perm, uid, gid, err
}

// goPerm is the reverse of unixPerm.
func goPerm(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	if bits&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if bits&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if bits&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

package check

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// privileged maps the programs of Debian 13 that may run with other privileges than their
// caller's to the bit, u or g, and the user or group that owns them. An overlay can add
// more by bringing a file with such a mode.
var privileged = map[string]string{
	"usr/bin/chage":   "g shadow",
	"usr/bin/expiry":  "g shadow",
	"usr/bin/chfn":    "u root",
	"usr/bin/chsh":    "u root",
	"usr/bin/gpasswd": "u root",
	"usr/bin/mount":   "u root",
	"usr/bin/newgrp":  "u root",
	"usr/bin/passwd":  "u root",
	"usr/bin/su":      "u root",
	"usr/bin/umount":  "u root",

	"usr/bin/ssh-agent":                          "g _ssh",
	"usr/lib/dbus-1.0/dbus-daemon-launch-helper": "u root",
	"usr/lib/openssh/ssh-keysign":                "u root",
	"usr/sbin/mount.nfs":                         "u root",
	"usr/sbin/unix_chkpwd":                       "g shadow",

	// Of packages that users may add.
	"usr/bin/crontab":                        "g crontab",
	"usr/bin/fusermount3":                    "u root",
	"usr/bin/newgidmap":                      "u root",
	"usr/bin/newuidmap":                      "u root",
	"usr/bin/pkexec":                         "u root",
	"usr/bin/sudo":                           "u root",
	"usr/lib/polkit-1/polkit-agent-helper-1": "u root",
	"usr/sbin/mount.cifs":                    "u root",
}

// modes finds privileges that nobody meant to give.
func (c *checker) modes() {
	for _, n := range c.nodes {
		switch {
		case n.Mode&fs.ModeSymlink != 0:
		case n.Mode.IsRegular() && n.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
			c.privilege(n)
		case n.Mode&0o002 != 0 && !(n.Mode.IsDir() && n.Mode&fs.ModeSticky != 0):
			c.add(n, "may be written by everyone (%v)", n.Mode)
		case !n.Mode.IsRegular() && !n.Mode.IsDir():
			c.add(n, "is a %v; an image has files, directories and links", n.Mode.Type())
		}
	}
}

func (c *checker) privilege(n *tree.Node) {
	if strings.HasPrefix(n.Source, "overlay ") {
		return
	}
	bit, owner := "u", c.name("passwd", n.UID)
	if n.Mode&fs.ModeSetgid != 0 {
		bit, owner = "g", c.name("group", n.GID)
	}
	both := n.Mode&fs.ModeSetuid != 0 && n.Mode&fs.ModeSetgid != 0
	if have := bit + " " + owner; privileged[n.Path] != have || both {
		c.add(n, "runs with the rights of %s (%v), which is not expected of it", owner, n.Mode)
	}
}

// name returns the name of a uid or gid, or the number if it has no name.
func (c *checker) name(file string, id uint32) string {
	for _, entry := range c.accounts(file) {
		if entry.id == id {
			return entry.name
		}
	}
	return fmt.Sprint(id)
}

// account is a line of passwd(5) or group(5).
type account struct {
	name string
	id   uint32
}

// accounts reads /etc/passwd or /etc/group. It skips lines that it cannot parse: owners
// reports files whose owner is then missing.
func (c *checker) accounts(file string) []account {
	b, err := c.tree.ReadAll("etc/" + file)
	if err != nil {
		return nil
	}
	var out []account
	for line := range strings.Lines(string(b)) {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			out = append(out, account{f[0], uint32(id)})
		}
	}
	return out
}

// owners finds files of users and groups that do not exist, and numbers that two names
// share.
func (c *checker) owners() error {
	users, err := c.ids("passwd")
	if err != nil {
		return err
	}
	groups, err := c.ids("group")
	if err != nil {
		return err
	}
	for _, n := range c.nodes {
		if !users[n.UID] {
			c.add(n, "belongs to user %d, who is not in /etc/passwd", n.UID)
		}
		if !groups[n.GID] {
			c.add(n, "belongs to group %d, which is not in /etc/group", n.GID)
		}
	}
	return nil
}

func (c *checker) ids(file string) (map[uint32]bool, error) {
	if _, err := c.tree.ReadAll("etc/" + file); err != nil {
		return nil, fmt.Errorf("check owners: %w", err)
	}
	seen := map[uint32]bool{}
	for _, a := range c.accounts(file) {
		if seen[a.id] {
			c.add(c.tree.Get("etc/"+file), "gives the number %d of %s to another as well", a.id, a.name)
		}
		seen[a.id] = true
	}
	return seen, nil
}

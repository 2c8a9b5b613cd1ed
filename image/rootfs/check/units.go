package check

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// unitDirs are the directories of system units in an image.
var unitDirs = []string{"etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"}

// unit is a unit file with its drop-ins: the values of each key, in order. Sections are
// ignored, as each of the keys read here occurs in one section only.
type unit struct {
	node   *tree.Node
	values map[string][]string
}

// units finds services that could not start because their program, user or group is
// missing.
func (c *checker) units() error {
	users, groups := c.names("passwd"), c.names("group")
	for _, dir := range unitDirs {
		for _, n := range c.in[dir] {
			if !n.Mode.IsRegular() || n.Content == nil {
				continue
			}
			u, err := c.unit(n)
			if err != nil {
				return err
			}
			c.unitPrograms(u)
			c.unitAccount(u, "User", users)
			c.unitAccount(u, "Group", groups)
		}
	}
	return nil
}

func (c *checker) names(file string) []string {
	var out []string
	for _, a := range c.accounts(file) {
		out = append(out, a.name)
	}
	return out
}

// unit reads a unit file and its drop-ins: those of all unit directories, sorted by file name
// (systemd.unit(5)).
func (c *checker) unit(n *tree.Node) (*unit, error) {
	own, err := c.tree.ReadAll(n.Path)
	if err != nil {
		return nil, fmt.Errorf("check units: %w", err)
	}
	more, err := confdir.Read(c.tree, "systemd/system/"+path.Base(n.Path)+".d", ".conf")
	if err != nil {
		return nil, fmt.Errorf("check units: %w", err)
	}
	u := &unit{node: n, values: map[string][]string{}}
	u.parse(string(own))
	for _, f := range more {
		u.parse(f.Text)
	}
	return u, nil
}

// parse adds the lines of one file by the rules of systemd.syntax(7): a backslash at the
// end joins lines, an empty value clears a list.
func (u *unit) parse(text string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.IndexByte("#;[", line[0]) >= 0 {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if value == "" {
			delete(u.values, key)
			continue
		}
		u.values[key] = append(u.values[key], value)
	}
}

func (u *unit) last(key string) string {
	if v := u.values[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func (c *checker) unitPrograms(u *unit) {
	for _, key := range []string{"ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"} {
		for _, line := range u.values[key] {
			program, ignored := execProgram(line)
			if ignored || program == "" || c.command(program) || u.guards(program) || listed(optionalPrograms, program) {
				continue
			}
			c.add(u.node, "%s= runs %s, which is missing", key, program)
		}
	}
}

// execProgram returns the program of a command line of systemd.service(5), and whether its
// failure is ignored. A program with specifiers or variables is returned as "".
func execProgram(line string) (program string, ignored bool) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", false
	}
	program = strings.TrimLeft(words[0], "@-:+!|")
	ignored = strings.Contains(words[0][:len(words[0])-len(program)], "-")
	program = strings.Trim(program, `"'`)
	if strings.ContainsAny(program, "%$") {
		return "", false
	}
	return program, ignored
}

// guards reports whether a condition keeps the unit from running if the program is missing.
func (u *unit) guards(program string) bool {
	for _, key := range []string{"ConditionFileIsExecutable", "ConditionPathExists", "AssertPathExists"} {
		if slices.Contains(u.values[key], program) {
			return true
		}
	}
	return false
}

func (c *checker) unitAccount(u *unit, key string, known []string) {
	name := u.last(key)
	if name == "" || strings.ContainsAny(name, "%$") || u.last("DynamicUser") == "yes" || slices.Contains(known, name) {
		return
	}
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		return
	}
	c.add(u.node, "%s=%s does not exist", key, name)
}

// Package units reads the systemd unit files of a tree and decides, as systemctl does,
// which links the presets ask for. It changes nothing; it returns the links to make and to
// remove.
package units

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Dir is the directory for links and masks. It is the first in unitPath: the directories of
// system units that an image can contain, in the order of systemd.unit(5).
const Dir = "etc/systemd/system"

var unitPath = []string{Dir, "usr/local/lib/systemd/system", "usr/lib/systemd/system"}

// unit is a unit file and what its [Install] section says.
type unit struct {
	name   string // of an instance its own name, although the file is the template's
	path   string // of the file in the tree
	masked bool

	alias, wantedBy, requiredBy, upheldBy, also []string
	defaultInstance                             string
}

// unitTypes are the suffixes of system units.
var unitTypes = []string{"service", "socket", "target", "timer", "mount", "automount", "path", "slice", "swap", "device", "scope"}

// isUnitName reports whether s is NAME.TYPE; NAME may be a template or an instance.
func isUnitName(s string) bool {
	dot := strings.LastIndexByte(s, '.')
	return dot > 0 && s[0] != '@' && slices.Contains(unitTypes, s[dot+1:]) && !strings.Contains(s, "/")
}

// splitUnit splits "getty@tty1.service" into "getty", "tty1" and "service"; at tells
// whether there is an @.
func splitUnit(name string) (prefix, instance, kind string, at bool) {
	dot := strings.LastIndexByte(name, '.')
	prefix, instance, at = strings.Cut(name[:dot], "@")
	return prefix, instance, name[dot+1:], at
}

// isTemplate reports whether name has an @ and no instance.
func isTemplate(name string) bool {
	_, instance, _, at := splitUnit(name)
	return at && instance == ""
}

// templateOf returns the template of an instance, or "".
func templateOf(name string) string {
	prefix, instance, kind, at := splitUnit(name)
	if !at || instance == "" {
		return ""
	}
	return prefix + "@." + kind
}

// Units looks up the unit files of one tree.
type Units struct{ tree *tree.Tree }

// In returns the units of a tree.
func In(t *tree.Tree) Units { return Units{t} }

// load finds the unit called name and reads its [Install] section, including drop-ins. It
// returns nil if there is none. Links are followed, so an alias is returned under the name
// of its unit.
func (u Units) load(name string) (*unit, error) {
	return u.follow(name, 0)
}

func (u Units) follow(name string, depth int) (*unit, error) {
	n := u.find(name)
	if n == nil {
		if template := templateOf(name); template != "" {
			n = u.find(template)
		}
	}
	if n == nil {
		return nil, nil
	}
	if n.Link != "" && !n.IsHardLink() {
		return u.followLink(name, n, depth)
	}
	if n.Mode.IsRegular() && n.Content != nil && n.Size() == 0 {
		return &unit{name: name, path: n.Path, masked: true}, nil
	}
	return u.read(name, n)
}

// followLink follows a link in a unit directory to another unit, or to /dev/null, which
// makes a masked one.
func (u Units) followLink(name string, n *tree.Node, depth int) (*unit, error) {
	target := n.Link
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(n.Path), target)
	}
	if target == "/dev/null" {
		return &unit{name: name, path: n.Path, masked: true}, nil
	}
	if depth > 16 {
		return nil, fmt.Errorf("/%s: %w", n.Path, tree.ErrLoop)
	}
	next := path.Base(target)
	if next == name || next == templateOf(name) {
		real, err := u.tree.Resolve(target)
		if err != nil {
			return nil, nil // dangling
		}
		return u.read(name, real)
	}
	// An alias of a template keeps the instance: dbus-x@1 → x@1.
	if _, instance, _, _ := splitUnit(name); instance != "" && isUnitName(next) && isTemplate(next) {
		prefix, _, kind, _ := splitUnit(next)
		next = prefix + "@" + instance + "." + kind
	}
	if !isUnitName(next) {
		return nil, nil
	}
	return u.follow(next, depth+1)
}

func (u Units) find(name string) *tree.Node {
	for _, dir := range unitPath {
		if n := u.tree.Get(path.Join(dir, name)); n != nil && !n.Mode.IsDir() {
			return n
		}
	}
	return nil
}

// read parses the file at n and its drop-ins.
func (u Units) read(name string, n *tree.Node) (*unit, error) {
	out := &unit{name: name, path: n.Path}
	texts := []string{n.Path}
	texts = append(texts, u.dropIns(name)...)
	for _, p := range texts {
		b, err := u.tree.ReadAll(p)
		if err != nil {
			return nil, err
		}
		out.parseInstall(string(b))
	}
	return out, nil
}

// dropIns lists the NAME.d/*.conf of all unit directories by file name; of files with the
// same name, the one in the first directory counts.
func (u Units) dropIns(name string) []string {
	found := map[string]string{}
	names := []string{name}
	if template := templateOf(name); template != "" {
		names = append(names, template)
	}
	for _, unit := range names {
		for _, dir := range unitPath {
			if u.tree.Get(path.Join(dir, unit+".d")) == nil {
				continue
			}
			for _, n := range u.tree.Children(path.Join(dir, unit+".d")) {
				base := path.Base(n.Path)
				if strings.HasSuffix(base, ".conf") && found[base] == "" && n.Mode.IsRegular() {
					found[base] = n.Path
				}
			}
		}
	}
	var paths []string
	for _, p := range found {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return paths
}

// parseInstall adds the settings in the [Install] section of text.
func (u *unit) parseInstall(text string) {
	section := ""
	for _, line := range confdir.Lines(joinContinued(text)) {
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && section == "[Install]" {
			u.set(strings.TrimSpace(key), strings.TrimSpace(value))
		}
	}
}

// joinContinued joins lines that end in a backslash with the next line and skips comments
// in between, as in systemd.syntax(7). Two backslashes are one literal backslash.
func joinContinued(text string) string {
	var b strings.Builder
	continued := false
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimLeft(line, " \t")
		isComment := strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";")
		if continued && isComment {
			continue
		}
		line = strings.TrimRight(line, "\r")
		body := strings.TrimRight(line, `\`)
		if continued = (len(line)-len(body))%2 == 1 && !isComment; continued {
			b.WriteString(line[:len(line)-1] + " ")
		} else {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func (u *unit) set(key, value string) {
	add := func(list *[]string) {
		if value == "" {
			*list = nil
		}
		*list = append(*list, strings.Fields(value)...)
	}
	switch key {
	case "Alias":
		add(&u.alias)
	case "WantedBy":
		add(&u.wantedBy)
	case "RequiredBy":
		add(&u.requiredBy)
	case "UpheldBy":
		add(&u.upheldBy)
	case "Also":
		add(&u.also)
	case "DefaultInstance":
		u.defaultInstance = value
	}
}

// hasInstall reports whether enabling the unit can have an effect.
func (u *unit) hasInstall() bool {
	return len(u.alias)+len(u.wantedBy)+len(u.requiredBy)+len(u.upheldBy)+len(u.also) > 0
}

package units

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Link is a symbolic link to make: its path in the tree and its target.
type Link struct{ Path, Target string }

// links returns the links that "systemctl enable" would make for u: aliases, then entries
// of .wants, .requires and .upholds directories.
func (u *unit) links() ([]Link, error) {
	var out []Link
	for _, alias := range u.alias {
		name, err := u.expand(alias)
		if err != nil {
			return nil, err
		}
		if name = u.aliasName(name); name != "" && name != u.name {
			out = append(out, Link{path.Join(Dir, name), "/" + u.path})
		}
	}
	for _, dep := range []struct {
		units  []string
		suffix string
	}{{u.wantedBy, ".wants"}, {u.requiredBy, ".requires"}, {u.upheldBy, ".upholds"}} {
		for _, by := range dep.units {
			by, err := u.expand(by)
			if err != nil {
				return nil, err
			}
			if !isUnitName(by) || isTemplate(u.instanceName()) && !strings.Contains(by, "@") {
				continue // a template without an instance can be wanted by templates only
			}
			out = append(out, Link{path.Join(Dir, by+dep.suffix, u.instanceName()), "/" + u.path})
		}
	}
	return out, nil
}

// instanceName is the name under which u is linked: a template with a default instance is
// enabled as that instance.
func (u *unit) instanceName() string {
	if !isTemplate(u.name) || u.defaultInstance == "" {
		return u.name
	}
	prefix, _, kind, _ := splitUnit(u.name)
	return prefix + "@" + u.defaultInstance + "." + kind
}

// aliasName returns the name of an alias, or "" if systemd would refuse it: an alias must
// be of the unit's type, and a template if the unit is one. A template alias of an instance
// gets the instance's name.
func (u *unit) aliasName(alias string) string {
	// "multi-user.target.wants/x.service" is an old form of WantedBy=.
	if dir, base := path.Split(alias); dir != "" {
		if strings.Count(alias, "/") == 1 && isUnitName(base) && (base == u.name || base == u.instanceName() || templateOf(base) == u.name) {
			return alias
		}
		return ""
	}
	if !isUnitName(alias) {
		return ""
	}
	_, aliasInstance, aliasKind, aliasAt := splitUnit(alias)
	_, instance, kind, at := splitUnit(u.name)
	if aliasKind != kind || aliasAt != at {
		return ""
	}
	if aliasAt && aliasInstance == "" && instance != "" {
		prefix, _, _, _ := splitUnit(alias)
		return prefix + "@" + instance + "." + kind
	}
	return alias
}

// expand replaces specifiers in the [Install] section. Only those that depend on nothing
// but the unit's name are supported: those about the host have no meaning in an image.
func (u *unit) expand(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	name := u.instanceName()
	prefix, instance, _, _ := splitUnit(name)
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case '%':
			b.WriteByte('%')
		case 'n':
			b.WriteString(name)
		case 'N':
			b.WriteString(strings.TrimSuffix(name, path.Ext(name)))
		case 'p':
			b.WriteString(prefix)
		case 'i':
			b.WriteString(instance)
		case 'j':
			b.WriteString(prefix[strings.LastIndexByte(prefix, '-')+1:])
		default:
			return "", fmt.Errorf("/%s: [Install] uses %%%c, which has no value in an image", u.path, s[i])
		}
	}
	return b.String(), nil
}

// closure loads the named units and all units that they name in Also=, each once. Units
// that are missing or masked are left out.
func (u Units) closure(names []string) ([]*unit, error) {
	var out []*unit
	seen := map[string]bool{}
	for queue := slices.Clone(names); len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] || !isUnitName(queue[0]) {
			continue
		}
		seen[queue[0]] = true
		loaded, err := u.load(queue[0])
		if err != nil {
			return nil, err
		}
		if loaded == nil || loaded.masked {
			continue
		}
		seen[loaded.name] = true
		out = append(out, loaded)
		for _, also := range loaded.also {
			also, err := loaded.expand(also)
			if err != nil {
				return nil, err
			}
			queue = append(queue, also)
		}
	}
	return out, nil
}

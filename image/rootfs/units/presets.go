package units

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
)

// preset is one line of systemd.preset(5).
type preset struct {
	enable    bool
	pattern   string
	instances []string
}

// parsePresets reads the lines of one file. A line that is neither enable nor disable, such
// as the "ignore" of newer versions, is an error: if the node's systemd read a preset
// differently, it would enable other units than the image.
func parsePresets(text, where string) ([]preset, error) {
	var out []preset
	for _, line := range confdir.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "enable" && f[0] != "disable" {
			return nil, fmt.Errorf("%s: line %q is not enable or disable with a unit", where, line)
		}
		out = append(out, preset{f[0] == "enable", f[1], f[2:]})
	}
	return out, nil
}

// presetOf returns the first preset that matches. Without one, the unit is enabled, as in
// systemd.
func presetOf(presets []preset, name string) (preset, error) {
	for _, p := range presets {
		ok, err := path.Match(p.pattern, name)
		if err != nil {
			return preset{}, fmt.Errorf("preset %q: %w", p.pattern, err)
		}
		if ok || templateOf(name) != "" && p.pattern == templateOf(name) && slices.Contains(p.instances, instanceOf(name)) {
			return p, nil
		}
	}
	return preset{enable: true}, nil
}

func instanceOf(name string) string {
	_, instance, _, _ := splitUnit(name)
	return instance
}

// Sort decides for every unit file of the tree whether the presets enable it (plus) or
// disable it (minus), as "systemctl --root preset-all" does. An alias follows its unit.
func (u Units) Sort() (plus, minus []string, err error) {
	presets, err := u.presets()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range u.names() {
		loaded, err := u.load(name)
		if err != nil {
			return nil, nil, err
		}
		if loaded == nil || loaded.masked || loaded.name != name {
			continue
		}
		p, err := presetOf(presets, name)
		switch {
		case err != nil:
			return nil, nil, err
		case !p.enable:
			minus = append(minus, name)
		case isTemplate(name) && len(p.instances) > 0:
			prefix, _, kind, _ := splitUnit(name)
			for _, i := range p.instances {
				plus = append(plus, prefix+"@"+i+"."+kind)
			}
		default:
			plus = append(plus, name)
		}
	}
	return plus, minus, nil
}

func (u Units) presets() ([]preset, error) {
	files, err := confdir.Read(u.tree, "systemd/system-preset", ".preset")
	if err != nil {
		return nil, err
	}
	var presets []preset
	for _, f := range files {
		p, err := parsePresets(f.Text, f.Path)
		if err != nil {
			return nil, err
		}
		presets = append(presets, p...)
	}
	return presets, nil
}

// names lists the files and links of the unit directories, sorted.
func (u Units) names() []string {
	var names []string
	for _, dir := range unitPath {
		if u.tree.Get(dir) == nil {
			continue
		}
		for _, n := range u.tree.Children(dir) {
			if name := path.Base(n.Path); !n.Mode.IsDir() && isUnitName(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// CheckName refuses a unit name in an overlay's disable or mask if the unit does not exist
// but one with a similar name does: the typing error would go unnoticed. A missing unit
// without a similar name is let through: it may come with a package that only some boards
// have, or from a generator.
func (u Units) CheckName(overlay, does, name string) error {
	loaded, err := u.load(name)
	if err != nil || loaded != nil {
		return err
	}
	kind := path.Ext(name)
	if meant := nearest.Slip(strings.TrimSuffix(name, kind), u.stems(kind)); meant != "" {
		return fmt.Errorf("overlay %s %ss %s, but neither a package nor an overlay has that unit; did you mean %s?", overlay, does, name, meant+kind)
	}
	return nil
}

// stems returns the names of the units of a kind, such as ".service", without that ending:
// its letters would count as matching ones in the comparison.
func (u Units) stems(kind string) []string {
	var stems []string
	for _, name := range u.names() {
		if stem, ok := strings.CutSuffix(name, kind); ok {
			stems = append(stems, stem)
		}
	}
	return stems
}

// checkEnabled refuses to enable a unit that does not exist or cannot be enabled: the node
// would report neither.
func (u Units) checkEnabled(overlay, name string) error {
	loaded, err := u.load(name)
	if err != nil {
		return err
	}
	switch {
	case loaded == nil:
		if err := u.CheckName(overlay, "enable", name); err != nil {
			return err
		}
		return fmt.Errorf("overlay %s enables %s, but neither a package nor an overlay has that unit", overlay, name)
	case loaded.masked:
		return fmt.Errorf("overlay %s enables %s, which is masked", overlay, name)
	case !loaded.hasInstall():
		return fmt.Errorf("overlay %s enables %s, whose file has no [Install] section: add a link to a .wants directory of /usr/lib/systemd/system instead, as presets unlink one in /etc", overlay, name)
	}
	return nil
}

// checkDisabled is CheckName, but also refuses an instance: a "disable" line of a preset
// takes no instances, and systemd would look for a unit with a blank in its name.
func (u Units) checkDisabled(overlay, name string) error {
	if template := templateOf(name); template != "" {
		return fmt.Errorf("overlay %s disables %s, but presets only disable %s with all its instances: do that, or mask the one", overlay, name, template)
	}
	return u.CheckName(overlay, "disable", name)
}

// Unlinks returns the links below Dir that lead to a disabled unit, by the link's own name
// or its target's.
func (u Units) Unlinks(minus []string) (paths []string, err error) {
	closed, err := u.closure(minus)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	for _, c := range closed {
		gone[c.name] = true
	}
	for n := range u.tree.Walk() {
		isLink := n.Link != "" && !n.IsHardLink() && strings.HasPrefix(n.Path, Dir+"/")
		if isLink && isUnitName(path.Base(n.Path)) && n.Link != "/dev/null" &&
			(gone[path.Base(n.Path)] || gone[path.Base(n.Link)]) {
			paths = append(paths, n.Path)
		}
	}
	return paths, nil
}

// Links returns the links that enable the units plus, once those of Unlinks are removed.
func (u Units) Links(plus []string) (all []Link, err error) {
	closed, err := u.closure(plus)
	if err != nil {
		return nil, err
	}
	for _, c := range closed {
		links, err := c.links()
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if n := u.tree.Get(l.Path); n != nil && (n.Mode.IsRegular() || n.Link == "/dev/null") {
				continue // an overlay's unit file or mask wins over an alias
			}
			all = append(all, l)
		}
	}
	return all, nil
}

// Preset returns what the overlays enable and disable, as the text of a preset file. It
// refuses to enable a unit that does not exist or cannot be enabled, and a unit that one
// overlay enables and another disables.
func (u Units) Preset(overlays []*overlay.Overlay) (string, error) {
	p := presetFile{decided: map[string]string{}, templates: map[string]int{}}
	for _, o := range overlays {
		for _, rule := range []struct {
			word  string
			units []string
			check func(overlay, name string) error
		}{{"enable", o.Enable, u.checkEnabled}, {"disable", o.Disable, u.checkDisabled}} {
			for _, name := range rule.units {
				if err := p.add(o.Name, rule.word, name); err != nil {
					return "", err
				}
				if err := rule.check(o.Name, name); err != nil {
					return "", err
				}
			}
		}
	}
	lines := append([]string{"# What the overlays of this image enable and disable."}, p.lines...)
	return strings.Join(lines, "\n") + "\n", nil
}

// presetFile collects the lines of a preset file. systemd uses the first line that matches
// a unit, so a template has one line for all its instances.
type presetFile struct {
	lines     []string
	decided   map[string]string // what was decided for a unit or template, and by which overlay
	templates map[string]int    // index in lines of a template's line
}

func (p *presetFile) add(overlay, word, name string) error {
	unit := cmp.Or(templateOf(name), name)
	if have := p.decided[unit]; have != "" && !strings.HasPrefix(have, word+" ") {
		return fmt.Errorf("overlay %s wants to %s %s, but overlay %s", overlay, word, name, have)
	}
	p.decided[unit] = word + " it in overlay " + overlay
	line := strings.TrimRight(fmt.Sprintf("%s %s %s", word, unit, instanceOf(name)), " ")
	at, again := p.templates[unit]
	switch {
	case !again:
		if word == "enable" && isTemplate(unit) {
			p.templates[unit] = len(p.lines)
		}
		p.lines = append(p.lines, line)
	case (instanceOf(name) == "") != (len(strings.Fields(p.lines[at])) == 2):
		return fmt.Errorf("overlay %s enables %s, but that template is enabled with and without an instance: name every one", overlay, name)
	case !slices.Contains(strings.Fields(p.lines[at]), instanceOf(name)):
		p.lines[at] += " " + instanceOf(name)
	}
	return nil
}

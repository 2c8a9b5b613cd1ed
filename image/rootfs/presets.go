package rootfs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/overlay"
)

// preset is one line of systemd.preset(5).
type preset struct {
	enable    bool
	pattern   string
	instances []string
}

// parsePresets reads the lines of one file; lines that are neither enable nor
// disable, such as the later "ignore", are an error: a preset that is read
// differently on the node would change it there.
func parsePresets(text, where string) ([]preset, error) {
	var out []preset
	for _, line := range lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "enable" && f[0] != "disable" {
			return nil, fmt.Errorf("%s: line %q is not enable or disable with a unit", where, line)
		}
		out = append(out, preset{f[0] == "enable", f[1], f[2:]})
	}
	return out, nil
}

// presetOf finds the first line that matches. Without one systemd enables.
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

// applyPresets links and unlinks units as "systemctl --root preset-all" does,
// so that a node whose PID 1 does the same finds nothing to change.
func applyPresets(s *state) error {
	files, err := s.configFiles("systemd/system-preset", ".preset")
	if err != nil {
		return err
	}
	var presets []preset
	for _, f := range files {
		p, err := parsePresets(f.text, f.path)
		if err != nil {
			return err
		}
		presets = append(presets, p...)
	}
	plus, minus, err := s.sortUnits(presets)
	if err != nil {
		return err
	}
	if err := s.unlinkUnits(minus); err != nil {
		return err
	}
	return s.linkUnits(plus)
}

// sortUnits decides for every unit file of the tree whether to enable or to
// disable it. Aliases follow their unit.
func (s *state) sortUnits(presets []preset) (plus, minus []string, err error) {
	u := units{s.tree}
	for _, name := range s.unitNames() {
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

// unitNames lists the files and links of the unit directories, sorted.
func (s *state) unitNames() []string {
	var names []string
	for _, dir := range unitPath {
		if s.tree.Get(dir) == nil {
			continue
		}
		for _, n := range s.tree.Children(dir) {
			if name := path.Base(n.Path); !n.Mode.IsDir() && isUnitName(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unlinkUnits removes the links below unitConfig that lead to a disabled
// unit, by their own name or their target's.
func (s *state) unlinkUnits(minus []string) error {
	closed, err := units{s.tree}.closure(minus)
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	for _, u := range closed {
		gone[u.name] = true
	}
	for _, n := range s.below(unitConfig) {
		isLink := n.Link != "" && !n.IsHardLink()
		if isLink && isUnitName(path.Base(n.Path)) && n.Link != "/dev/null" &&
			(gone[path.Base(n.Path)] || gone[path.Base(n.Link)]) {
			s.tree.Remove(n.Path)
		}
	}
	return nil
}

func (s *state) linkUnits(plus []string) error {
	closed, err := units{s.tree}.closure(plus)
	if err != nil {
		return err
	}
	for _, u := range closed {
		links, err := u.links()
		if err != nil {
			return err
		}
		for _, l := range links {
			p := path.Join(unitConfig, l.name)
			if n := s.tree.Get(p); n != nil && (n.Mode.IsRegular() || n.Link == "/dev/null") {
				continue // an overlay's own unit or mask wins over an alias
			}
			if err := s.link(p, l.target); err != nil {
				return err
			}
		}
	}
	return nil
}

// presetFiles writes what the overlays enable and disable as presets before
// Debian's, and one after Debian's that disables the rest.
//
// The last one must stay: where /etc/machine-id is missing, PID 1 applies all
// presets, and systemd's own default is to enable everything.
func presetFiles(s *state, overlays []*overlay.Overlay) error {
	text := "# What the overlays of this image enable and disable.\n"
	decided := map[string]string{}
	for _, o := range overlays {
		for _, rule := range []struct {
			word  string
			units []string
		}{{"enable", o.Enable}, {"disable", o.Disable}} {
			for _, name := range rule.units {
				if have := decided[name]; have != "" && !strings.HasPrefix(have, rule.word+" ") {
					return fmt.Errorf("overlay %s wants to %s %s, but overlay %s", o.Name, rule.word, name, have)
				}
				decided[name] = rule.word + " it in overlay " + o.Name
				if err := s.checkEnabled(o.Name, rule.word, name); err != nil {
					return err
				}
				text += presetLine(rule.word, name)
			}
		}
	}
	const dir = "usr/lib/systemd/system-preset/"
	return firstError(
		s.file(dir+"10-imagebuilder.preset", 0o644, text),
		s.file(dir+"99-default.preset", 0o644, "# Nothing else is enabled.\ndisable *\n"),
	)
}

// defaultTarget starts a system without a desktop. The link is changed where
// it is: one in /etc would go the first time that presets are applied, which
// disable multi-user.target.
func defaultTarget(s *state) error {
	const p = "usr/lib/systemd/system/default.target"
	if !s.exists(p) {
		return nil
	}
	return s.link(p, "multi-user.target")
}

// presetLine writes instances the way presets name them.
func presetLine(word, name string) string {
	if template := templateOf(name); template != "" {
		return fmt.Sprintf("%s %s %s\n", word, template, instanceOf(name))
	}
	return fmt.Sprintf("%s %s\n", word, name)
}

// checkEnabled refuses to enable what is not there or cannot be enabled: both
// would be silent on the node.
func (s *state) checkEnabled(overlay, word, name string) error {
	if word != "enable" {
		return nil
	}
	u, err := units{s.tree}.load(name)
	if err != nil {
		return err
	}
	switch {
	case u == nil:
		return fmt.Errorf("overlay %s enables %s, but neither a package nor an overlay has that unit", overlay, name)
	case u.masked:
		return fmt.Errorf("overlay %s enables %s, which is masked", overlay, name)
	case !u.hasInstall():
		return fmt.Errorf("overlay %s enables %s, whose file has no [Install] section: add a link to a .wants directory instead", overlay, name)
	}
	return nil
}

// maskUnits links the builder's and the overlays' masked units to /dev/null.
func maskUnits(s *state, overlays []*overlay.Overlay) error {
	names := slices.Clone(masked)
	for _, o := range overlays {
		names = append(names, o.Mask...)
	}
	for _, name := range names {
		if err := s.link(path.Join(unitConfig, name), "/dev/null"); err != nil {
			return fmt.Errorf("masking %s: %w", name, err)
		}
	}
	return nil
}

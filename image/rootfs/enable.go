package rootfs

import (
	"fmt"
	"path"
	"slices"

	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/rootfs/units"
)

// masked units would repeat at boot what the build has done, or would copy into the /etc
// overlay, where updates no longer reach it, what belongs to the image: systemd-sysusers
// would copy passwd there. systemd-firstboot would ask questions on the console.
var masked = []string{
	"ldconfig.service",
	"systemd-firstboot.service",
	"systemd-hwdb-update.service",
	"systemd-journal-catalog-update.service",
	"systemd-sysusers.service",
	"systemd-update-done.service",
}

// enableUnits decides which units start.
func enableUnits(s *state, overlays []*overlay.Overlay) error {
	return firstError(refuseMasked(overlays), presetFiles(s, overlays), maskUnits(s, overlays), applyPresets(s), defaultTarget(s))
}

// refuseMasked refuses a unit that one overlay enables and another, or imagebuilder, masks:
// the mask would win silently.
func refuseMasked(overlays []*overlay.Overlay) error {
	by := map[string]string{}
	for _, name := range masked {
		by[name] = "imagebuilder"
	}
	for _, o := range overlays {
		for _, name := range o.Mask {
			by[name] = "overlay " + o.Name
		}
	}
	for _, o := range overlays {
		for _, name := range o.Enable {
			if who := by[name]; who != "" {
				return fmt.Errorf("overlay %s enables %s, which %s masks", o.Name, name, who)
			}
		}
	}
	return nil
}

// presetFiles writes two preset files: one that sorts before Debian's, with what the
// overlays enable and disable, and one that sorts after Debian's and disables everything
// else.
//
// The last one must stay: where /etc/machine-id is missing, PID 1 applies all presets, and
// systemd's own default is to enable everything.
func presetFiles(s *state, overlays []*overlay.Overlay) error {
	text, err := units.In(s.tree).Preset(overlays)
	if err != nil {
		return err
	}
	const dir = "usr/lib/systemd/system-preset/"
	return firstError(
		s.file(dir+"10-imagebuilder.preset", 0o644, text),
		s.file(dir+"99-default.preset", 0o644, "# Nothing else is enabled.\ndisable *\n"),
	)
}

// maskUnits links the units that imagebuilder and the overlays mask to /dev/null.
func maskUnits(s *state, overlays []*overlay.Overlay) error {
	names := slices.Clone(masked)
	u := units.In(s.tree)
	for _, o := range overlays {
		for _, name := range o.Mask {
			if err := u.CheckName(o.Name, "mask", name); err != nil {
				return err
			}
		}
		names = append(names, o.Mask...)
	}
	for _, name := range names {
		if err := s.link(path.Join(units.Dir, name), "/dev/null"); err != nil {
			return fmt.Errorf("masking %s: %w", name, err)
		}
	}
	return nil
}

// applyPresets links and unlinks units as the presets say. A node's PID 1 that applies the
// presets then finds nothing to change.
func applyPresets(s *state) error {
	u := units.In(s.tree)
	plus, minus, err := u.Sort()
	if err != nil {
		return err
	}
	gone, err := u.Unlinks(minus)
	if err != nil {
		return err
	}
	for _, p := range gone {
		if n := s.tree.Get(p); ofOverlay(n) {
			return fmt.Errorf("%s: /%s is a link that systemd takes away with the first presets it applies: enable the unit, or put the link below /usr/lib/systemd/system", n.Source, p)
		}
	}
	s.remove(gone...)
	links, err := u.Links(plus)
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := s.link(l.Path, l.Target); err != nil {
			return err
		}
	}
	return nil
}

// defaultTarget makes multi-user.target the default. It changes the link in /usr/lib: a
// link in /etc would be removed as soon as presets are applied, since they disable
// multi-user.target.
func defaultTarget(s *state) error {
	const p = "usr/lib/systemd/system/default.target"
	if n := s.tree.Get(p); n == nil || ofOverlay(n) {
		return nil
	}
	return s.link(p, "multi-user.target")
}

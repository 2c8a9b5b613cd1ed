package kmod

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Drivers knows which hardware each module of a kernel drives.
type Drivers struct {
	aliases []alias
}

type alias struct{ pattern, module string }

// AllDrivers reads all modules of the kernel in t, which must be complete: an image's root
// has only a few of them. version is the kernel's release.
func AllDrivers(ctx context.Context, t *tree.Tree, version string, opt Options) (*Drivers, error) {
	m, err := open(ctx, t, version, opt)
	if err != nil {
		return nil, err
	}
	if len(m.files) == 0 {
		return nil, fmt.Errorf("kernel %s has no modules: the package that has them is missing", version)
	}
	text, err := m.remember(m.fingerprint("drivers"), m.allAliases)
	if err != nil {
		return nil, err
	}
	d := &Drivers{}
	for line := range strings.Lines(string(text)) {
		module, pattern, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			return nil, errDamaged
		}
		d.add(pattern, module)
	}
	return d, nil
}

// add skips an alias that depmod would skip because it can match nothing.
func (d *Drivers) add(pattern, module string) {
	if pattern, ok := pathless(pattern); ok {
		d.aliases = append(d.aliases, alias{pattern, module})
	}
}

// allAliases writes one line per alias of hardware. Other aliases have no colon.
func (m *Modules) allAliases() ([]byte, error) {
	list := m.list()
	if err := load(list); err != nil {
		return nil, err
	}
	var out []byte
	for _, x := range list {
		for _, a := range x.info.aliases {
			if strings.Contains(a, ":") && !strings.ContainsAny(a, " \n") {
				out = fmt.Appendf(out, "%s %s\n", x.name, a)
			}
		}
		x.info = nil // for a whole kernel, these take hundreds of megabytes
	}
	return out, nil
}

// For returns the modules that udev would load for a modalias, by their names in the
// kernel, sorted.
func (d *Drivers) For(modalias string) []string {
	modalias, ok := pathless(modalias)
	if !ok {
		return nil
	}
	var found []string
	for _, a := range d.aliases {
		if ok, _ := path.Match(a.pattern, modalias); ok { // a bad pattern matches nothing, as in fnmatch(3)
			found = append(found, a.module)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// pathless is normaliseAlias for path.Match, whose wildcards do not match a slash, such as
// those in a BIOS date.
func pathless(alias string) (string, bool) {
	alias, ok := normaliseAlias(alias)
	return strings.ReplaceAll(alias, "/", "\x01"), ok
}

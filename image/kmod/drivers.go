package kmod

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Drivers knows what every module of a kernel would drive.
type Drivers struct {
	aliases []alias
	builtin map[string]bool
}

type alias struct{ pattern, module string }

// AllDrivers reads all modules of the kernel in t, of which an image has a few.
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
	d := &Drivers{builtin: m.builtin}
	for line := range strings.Lines(string(text)) {
		module, pattern, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			return nil, errDamaged
		}
		d.aliases = append(d.aliases, alias{comparable(pattern), module})
	}
	return d, nil
}

// allAliases has a line for each alias of hardware: those of others have no
// colon.
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
		x.info = nil // a whole kernel's are hundreds of megabytes
	}
	return out, nil
}

// For returns the modules that udev would load for a modalias, by the kernel's
// names, sorted.
func (d *Drivers) For(modalias string) []string {
	modalias = comparable(modalias)
	var found []string
	for _, a := range d.aliases {
		if ok, _ := path.Match(a.pattern, modalias); ok && !d.builtin[a.module] { // a bad pattern matches nothing, as in fnmatch(3)
			found = append(found, a.module)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// comparable writes dashes as underscores, as modprobe does, but in brackets,
// where they mean a range. A slash, as in a BIOS' date, is like any character.
func comparable(s string) string {
	inside := false
	return strings.Map(func(c rune) rune {
		switch {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '-' && !inside:
			return '_'
		case c == '/':
			return '\x01'
		}
		return c
	}, s)
}

package kmod

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// softdep lists a module's soft dependencies (modprobe.d(5)): modules to load before and
// after it.
type softdep struct{ pre, post []string }

// soft merges the softdep lines of .modinfo, as in "pre: a b post: c". modprobe uses only
// the first line, but btrfs and cifs mean all of their lines.
func (i *info) soft() softdep {
	var s softdep
	for _, line := range i.softdeps {
		var list *[]string
		for word := range strings.FieldsSeq(line) {
			switch word {
			case "pre:":
				list = &s.pre
			case "post:":
				list = &s.post
			default:
				if list != nil {
					*list = append(*list, word)
				}
			}
		}
	}
	return s
}

// weak lists the modules that this one may request at run time.
func (i *info) weak() []string {
	var names []string
	for _, line := range i.weakdeps {
		names = append(names, strings.Fields(line)...)
	}
	return names
}

// loadAll reads the wanted modules and everything that they depend on, in waves: modules
// found in one wave are read in the next, on all processors.
func (m *Modules) loadAll(wanted []*module) error {
	seen := map[*module]bool{}
	for len(wanted) > 0 {
		if err := load(wanted); err != nil {
			return err
		}
		var next []*module
		for _, x := range wanted {
			near, err := m.neighbours(x)
			if err != nil {
				return err
			}
			for _, n := range near {
				if !seen[n] {
					seen[n] = true
					next = append(next, n)
				}
			}
		}
		wanted = next
	}
	return nil
}

// neighbours returns all modules that x refers to: its hard, soft and weak dependencies,
// and the modules that it requests by name.
func (m *Modules) neighbours(x *module) ([]*module, error) {
	near, err := m.hard(x)
	if err != nil {
		return nil, err
	}
	near = append(near, m.requested(x)...)
	s := x.info.soft()
	for _, name := range slices.Concat(s.pre, s.post, x.info.weak()) {
		found, err := m.lookup(name)
		if err != nil {
			return nil, err
		}
		near = append(near, found...)
	}
	return near, nil
}

// hard returns the direct dependencies of x, which the kernel's build wrote into it,
// without those that are compiled into the kernel.
func (m *Modules) hard(x *module) ([]*module, error) {
	var deps []*module
	for _, name := range x.info.depends {
		switch dep := m.files[name]; {
		case dep != nil:
			deps = append(deps, dep)
		case !m.builtin[name]:
			return nil, fmt.Errorf("/%s needs the module %s, which is not in the tree", x.path, name)
		}
	}
	return deps, nil
}

// lookup returns the modules that a soft dependency means: the module of that name, or
// those that implement an algorithm of that name. A name such as "platform:leds-gpio" means
// a driver, which by convention has the device's name. An unknown name is no error: soft
// dependencies are optional.
//
// modprobe would search the aliases of all modules. Reading four thousand modules for a few
// optional ones takes seconds, and in Debian's kernels it would only find drivers of crypto
// hardware in addition.
func (m *Modules) lookup(name string) ([]*module, error) {
	plain := normalise(name)
	if _, device, ok := strings.Cut(plain, ":"); ok {
		plain = device
	}
	if x := m.files[plain]; x != nil {
		return []*module{x}, nil
	}
	if m.builtin[plain] {
		return nil, nil
	}
	if err := m.loadProviders(); err != nil {
		return nil, err
	}
	var found []*module
	for _, x := range m.providers {
		if slices.ContainsFunc(x.info.aliases, func(a string) bool { return normalise(a) == plain }) {
			found = append(found, x)
		}
	}
	return found, nil
}

// loadProviders reads the modules that implement crypto algorithms, about a hundred small
// ones.
func (m *Modules) loadProviders() error {
	if m.providers != nil {
		return nil
	}
	m.providers = []*module{}
	for _, x := range m.list() {
		for _, pattern := range []string{"kernel/crypto/*", "kernel/arch/*/crypto/*", "kernel/lib/crypto/*"} {
			if ok, _ := path.Match(pattern, x.rel); ok {
				m.providers = append(m.providers, x)
			}
		}
	}
	return load(m.providers)
}

// Closure returns the modules to load for names, in the order in which modprobe would load
// them: dependencies first, soft ones before or after their owner as it asks. A name that
// is compiled into the kernel adds nothing; an unknown name is an error.
func (m *Modules) Closure(names []string) ([]Module, error) {
	b, err := m.remember(m.fingerprint("closure", names...), func() ([]byte, error) {
		list, err := m.closure(names)
		return encodeClosure(list), err
	})
	if err != nil {
		return nil, err
	}
	return m.decodeClosure(string(b))
}

func (m *Modules) closure(names []string) ([]Module, error) {
	var wanted []*module
	for _, name := range names {
		switch plain := normalise(name); {
		case m.files[plain] != nil:
			wanted = append(wanted, m.files[plain])
		case !m.builtin[plain]:
			return nil, m.unknown(name)
		}
	}
	if err := m.loadAll(wanted); err != nil {
		return nil, err
	}
	w := &walk{m: m, probed: map[*module]bool{}, at: map[*module]int{}}
	for _, x := range wanted {
		if err := w.probe(x, false); err != nil {
			return nil, err
		}
	}
	return w.order, nil
}

// walk collects a load order in the same way as libkmod's kmod_module_get_probe_list.
type walk struct {
	m      *Modules
	probed map[*module]bool
	at     map[*module]int // index in order
	order  []Module
}

// probe adds all hard dependencies of x and then x, each with its soft dependencies.
func (w *walk) probe(x *module, soft bool) error {
	if w.probed[x] {
		// A module that was only a soft dependency before may be required now.
		if i, ok := w.at[x]; !ok || soft || !w.order[i].Soft {
			return nil
		}
	}
	w.probed[x] = true
	deps, err := w.m.allHard(x)
	if err != nil {
		return err
	}
	for _, dep := range append(deps, x) {
		if err := w.add(dep, soft); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) add(x *module, soft bool) error {
	wishes := x.info.soft()
	if err := w.addSoft(wishes.pre); err != nil {
		return err
	}
	if i, ok := w.at[x]; ok {
		w.order[i].Soft = w.order[i].Soft && soft
	} else {
		w.at[x] = len(w.order)
		deps, err := w.m.hard(x)
		if err != nil {
			return err
		}
		w.order = append(w.order, Module{Name: x.name, Path: x.path, Soft: soft, Needs: moduleNames(deps)})
	}
	return w.addSoft(wishes.post)
}

func moduleNames(list []*module) (names []string) {
	for _, x := range list {
		names = append(names, x.name)
	}
	return names
}

func (w *walk) addSoft(names []string) error {
	for _, name := range names {
		found, err := w.m.lookup(name)
		if err != nil {
			return err
		}
		for _, x := range found {
			if err := w.probe(x, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// allHard returns the hard dependencies of x, direct and indirect, deepest first.
func (m *Modules) allHard(x *module) ([]*module, error) {
	var order []*module
	state := map[*module]int{} // 1 while visiting its dependencies, 2 when done
	var visit func(x *module) error
	visit = func(x *module) error {
		if state[x] == 1 {
			return fmt.Errorf("/%s: dependency cycle", x.path)
		}
		if state[x] == 2 {
			return nil
		}
		state[x] = 1
		deps, err := m.hard(x)
		if err != nil {
			return err
		}
		for _, dep := range deps {
			if err := visit(dep); err != nil {
				return err
			}
		}
		state[x] = 2
		order = append(order, x)
		return nil
	}
	if err := visit(x); err != nil {
		return nil, err
	}
	return order[:len(order)-1], nil
}

// encodeClosure writes one module per line, followed by the modules that it needs. The line
// of a soft module begins with "~".
func encodeClosure(list []Module) []byte {
	var b []byte
	for _, x := range list {
		if x.Soft {
			b = append(b, '~')
		}
		b = append(b, strings.Join(append([]string{x.Name}, x.Needs...), " ")...)
		b = append(b, '\n')
	}
	return b
}

func (m *Modules) decodeClosure(text string) ([]Module, error) {
	var list []Module
	for line := range strings.Lines(text) {
		line, soft := strings.CutPrefix(line, "~")
		words := append(strings.Fields(line), "")
		x := m.files[words[0]]
		if x == nil {
			return nil, fmt.Errorf("%w: it names module %q", errDamaged, words[0])
		}
		list = append(list, Module{Name: x.name, Path: x.path, Soft: soft, Needs: words[1 : len(words)-1]})
	}
	return list, nil
}

// unknown is the error for a name that is neither a module nor compiled in.
func (m *Modules) unknown(name string) error {
	known := slices.AppendSeq(slices.Collect(maps.Keys(m.files)), maps.Keys(m.builtin))
	near := nearest.Names(normalise(name), known, 3)
	if len(near) == 0 {
		return fmt.Errorf("no module %q in /%s", name, m.dir)
	}
	return fmt.Errorf("no module %q in /%s: did you mean %s?", name, m.dir, strings.Join(near, ", "))
}

package kmod

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// indexes are the files that depmod writes.
var indexes = []string{
	"modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin",
	"modules.softdep", "modules.weakdep", "modules.symbols", "modules.symbols.bin",
	"modules.builtin.bin", "modules.builtin.alias.bin", "modules.devname",
}

// prune removes every module that keep does not ask for, the indexes, which are then out of
// date, and directories that become empty. It returns how many modules it removed.
//
// An element of keep is a module's name ("dm_crypt", where dashes equal underscores), a
// path.Match pattern of names ("nf_*"), or a directory below the kernel's, with a slash at
// the end ("kernel/net/netfilter/"). Everything that these modules depend on also stays:
// hard, soft and weak dependencies, and the modules that they request by name while they
// run, see requests. A name that is compiled into the kernel adds nothing; an element that
// matches nothing is an error.
func (m *Modules) prune(keep []string) (removed int, err error) {
	b, err := m.remember(m.fingerprint("prune", keep...), func() ([]byte, error) {
		kept, err := m.kept(keep)
		return []byte(strings.Join(kept, "\n")), err
	})
	if err != nil {
		return 0, err
	}
	kept := map[string]bool{}
	for name := range strings.SplitSeq(string(b), "\n") {
		name, riddle := strings.CutPrefix(name, riddleMark)
		if kept[name] = true; riddle {
			m.riddles = append(m.riddles, name)
		}
	}
	return m.drop(kept)
}

// riddleMark precedes the names of riddles in a cached list.
const riddleMark = "?"

// kept returns the names of all modules that keep asks for and of their dependencies,
// sorted, riddles first.
func (m *Modules) kept(keep []string) ([]string, error) {
	wanted := map[*module]bool{}
	for _, k := range keep {
		found, err := m.match(k)
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			wanted[x] = true
		}
	}
	todo := slices.Collect(maps.Keys(wanted))
	if err := m.loadAll(todo); err != nil {
		return nil, err
	}
	for len(todo) > 0 {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		near, err := m.neighbours(x)
		if err != nil {
			return nil, err
		}
		for _, n := range near {
			if !wanted[n] {
				wanted[n] = true
				todo = append(todo, n)
			}
		}
	}
	var names []string
	for x := range wanted {
		name := x.name
		if unforeseen(x) {
			name = riddleMark + name
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// renamed maps the names of modules in 6.12, which overlays use, to their names in newer
// kernels (7.3 in trixie-backports): a board may have either kernel.
var renamed = map[string]string{"aes_generic": "aes", "sha256_generic": "sha256", "sha512_generic": "sha512"}

// match returns the modules that one element of keep asks for.
func (m *Modules) match(k string) ([]*module, error) {
	plain := normalise(k)
	if now := renamed[plain]; now != "" && m.files[plain] == nil && !m.builtin[plain] {
		plain = now
	}
	if x := m.files[plain]; x != nil {
		return []*module{x}, nil
	}
	if m.builtin[plain] {
		return nil, nil
	}
	matches := func(x *module) bool { return strings.HasPrefix(x.rel, k) }
	if !strings.HasSuffix(k, "/") {
		if _, err := path.Match(plain, ""); err != nil || !strings.ContainsAny(k, "*?[") {
			return nil, m.unknown(k)
		}
		matches = func(x *module) bool { ok, _ := path.Match(plain, x.name); return ok }
	}
	var found []*module
	for _, x := range m.list() {
		if matches(x) {
			found = append(found, x)
		}
	}
	if found == nil && !m.matchesBuiltin(plain) {
		return nil, fmt.Errorf("%q matches no module of the kernel in /%s", k, m.dir)
	}
	return found, nil
}

func (m *Modules) matchesBuiltin(pattern string) bool {
	for name := range m.builtin {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// drop removes the modules that are not kept.
func (m *Modules) drop(kept map[string]bool) (int, error) {
	gone := map[string]bool{}
	removed := 0
	emptied := map[string]bool{}
	for n := range m.tree.Walk() {
		rel, below := strings.CutPrefix(n.Path, m.dir+"/")
		name := moduleName(n.Path)
		// This also removes a file that another of the same name in updates/ replaces.
		if !below || name == "" || n.Mode.IsDir() || excluded(rel) ||
			kept[name] && m.files[name].path == n.Path {
			continue
		}
		gone[n.Path] = true
		removed++
		for dir := path.Dir(n.Path); dir != m.dir; dir = path.Dir(dir) {
			emptied[dir] = true
		}
	}
	for _, name := range indexes {
		gone[path.Join(m.dir, name)] = true
	}
	m.keepFull(emptied, gone)
	m.tree.RemoveFunc(func(n *tree.Node) bool { return gone[n.Path] || emptied[n.Path] })
	for name := range m.files {
		if !kept[name] {
			delete(m.files, name)
		}
	}
	m.providers = nil
	return removed, m.pruneOrder()
}

// Lost says why Tree has no n, which was in the tree that Select was given, or something
// else in its place; it returns "" if n is there, be it uncompressed.
func (m *Modules) Lost(n *tree.Node) string {
	have := m.tree.Get(n.Path)
	if have != nil && have.Source == n.Source {
		return ""
	}
	name := moduleName(n.Path)
	switch x := m.files[name]; {
	case have != nil:
		return "is written by the build itself: leave it out"
	case name == "":
		return "the build removes it"
	case x == nil:
		return fmt.Sprintf("only kernel modules that are asked for stay: name %s under modules: of the overlay", name)
	case x.node.Source != n.Source || path.Dir(x.path) != path.Dir(n.Path):
		return fmt.Sprintf("/%s, by %s, is taken for the kernel module %s: keep one of them", x.path, x.node.Source, name)
	}
	return ""
}

// keepFull removes the directories that are not empty from emptied.
func (m *Modules) keepFull(emptied, gone map[string]bool) {
	for n := range m.tree.Walk() {
		if gone[n.Path] || emptied[n.Path] || !strings.HasPrefix(n.Path, m.dir+"/") {
			continue
		}
		for dir := path.Dir(n.Path); dir != m.dir; dir = path.Dir(dir) {
			delete(emptied, dir)
		}
	}
}

// pruneOrder shortens modules.order to the modules that are left: only depmod reads it, and
// it lists the whole kernel's modules.
func (m *Modules) pruneOrder() error {
	p := path.Join(m.dir, "modules.order")
	text, err := readOptional(m.tree, p)
	if err != nil || text == "" {
		return err
	}
	present := map[string]bool{}
	for _, x := range m.files {
		present[x.uncompressed()] = true
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if present[strings.TrimSuffix(line, "\n")] {
			b.WriteString(line)
		}
	}
	n := m.tree.Get(p).Clone()
	n.Content = tree.String(b.String())
	return m.tree.Put(n)
}

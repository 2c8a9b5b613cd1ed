package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// module is a module file of the tree and, once loaded, its content.
type module struct {
	name string
	path string // in the tree
	rel  string // below the kernel's directory
	node *tree.Node
	info *info // nil until load
}

// endings of module files, as kmod knows them (shared/util.c).
var endings = []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}

// moduleName returns the name of the module in the file p, or "".
func moduleName(p string) string {
	base := path.Base(p)
	if !slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(base, e) && base != e }) {
		return ""
	}
	base, _, _ = strings.Cut(base, ".")
	return normalise(base)
}

// normalise makes names comparable: files and people use dashes where the kernel has
// underscores.
func normalise(name string) string { return strings.ReplaceAll(name, "-", "_") }

// findDir returns the real path of a kernel's directory.
func findDir(t *tree.Tree, version string) (string, error) {
	if version == "" || version != path.Base(version) || version == "." || version == ".." {
		return "", fmt.Errorf("bad kernel version %q", version)
	}
	for _, base := range []string{"usr/lib/modules", "lib/modules"} {
		n, err := t.Resolve(path.Join(base, version))
		if err == nil && n.Mode.IsDir() {
			return n.Path, nil
		}
	}
	return "", fmt.Errorf("no modules of kernel %s in the tree: /usr/lib/modules/%[1]s: %w", version, fs.ErrNotExist)
}

// listModules finds the module files below dir. Like depmod it skips directories called
// build or source, and prefers updates/ if a name occurs twice.
func listModules(t *tree.Tree, dir string) (map[string]*module, error) {
	found := map[string]*module{}
	for n := range t.Walk() {
		rel, below := strings.CutPrefix(n.Path, dir+"/")
		name := moduleName(n.Path)
		if !below || name == "" || !n.Mode.IsRegular() || excluded(rel) {
			continue
		}
		if n.IsHardLink() {
			return nil, fmt.Errorf("/%s is a hard link: modules must be files of their own", n.Path)
		}
		if have := found[name]; have == nil || strings.HasPrefix(rel, "updates/") && !strings.HasPrefix(have.rel, "updates/") {
			found[name] = &module{name: name, path: n.Path, rel: rel, node: n}
		}
	}
	return found, nil
}

func excluded(rel string) bool {
	return slices.ContainsFunc(strings.Split(rel, "/"), func(c string) bool { return c == "build" || c == "source" })
}

// readBuiltin returns the names in modules.builtin, or none if the file does not exist.
func readBuiltin(t *tree.Tree, dir string) (map[string]bool, error) {
	text, err := readOptional(t, path.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if name := builtinName(line); name != "" {
			names[name] = true
		}
	}
	return names, nil
}

// builtinName returns the module that a line of modules.builtin names.
func builtinName(line string) string {
	base, _, _ := strings.Cut(path.Base(strings.TrimSpace(line)), ".")
	return strings.Trim(normalise(base), "/")
}

// readOptional returns the content of a file, or "" if it does not exist.
func readOptional(t *tree.Tree, p string) (string, error) {
	if t.Get(p) == nil {
		return "", nil
	}
	b, err := t.ReadAll(p)
	return string(b), err
}

// byOrder returns the modules in depmod's order: those in modules.order, in its order, then
// the others by path.
func (m *Modules) byOrder() ([]*module, error) {
	text, err := readOptional(m.tree, path.Join(m.dir, "modules.order"))
	if err != nil {
		return nil, err
	}
	rank := map[string]int{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); rank[line] == 0 {
			rank[line] = len(rank) + 1
		}
	}
	position := func(x *module) int {
		if r := rank[x.uncompressed()]; r != 0 {
			return r
		}
		return len(rank) + 1
	}
	list := m.list()
	slices.SortStableFunc(list, func(a, b *module) int { return position(a) - position(b) })
	return list, nil
}

// uncompressed is the file's name without the ending of a compression, as in modules.order.
func (x *module) uncompressed() string {
	i := strings.LastIndex(x.rel, ".ko")
	return x.rel[:i+len(".ko")]
}

// list returns the modules, sorted by path.
func (m *Modules) list() []*module {
	list := make([]*module, 0, len(m.files))
	for _, x := range m.files {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *module) int { return tree.ComparePaths(a.rel, b.rel) })
	return list
}

var errNoModule = errors.New("not a kernel module")

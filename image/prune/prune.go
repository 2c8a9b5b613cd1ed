// Package prune removes files from a tree by patterns that boards and overlays give as
// data, such as documentation, translations, and firmware of other machines.
//
// A pattern is a path from the root. Within one path component, * matches any characters, ?
// matches one and [a-z] matches one of a set. ** as a whole component matches any number of
// directories, including none:
//
//	usr/share/man                     the directory and everything below it
//	usr/share/man/**                  everything below it; the directory stays
//	usr/share/doc/** except copyright everything but files of that name
//	usr/lib/firmware/brcm/** except brcmfmac43455* usr/lib/firmware/brcm/x
//
// Files that match an exception are kept, with the directories that lead to them. An
// exception without a slash applies to that name anywhere, one with a slash to that path
// only. A leading slash is allowed. Symbolic links whose targets were removed are removed
// as well, so that pruning leaves no dangling links behind.
//
// The package knows nothing of Debian: it does not decide what a system can do without, and
// refuses only malformed patterns and those for the whole root.
package prune

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Apply returns t without the nodes that any of the patterns matches. unmatched lists the
// patterns that remove nothing, in their order: they are mistakes, or a package was
// renamed.
func Apply(t *tree.Tree, patterns []string) (pruned *tree.Tree, unmatched []string, err error) {
	rules := make([]*rule, len(patterns))
	for i, p := range patterns {
		if rules[i], err = parse(p); err != nil {
			return nil, nil, fmt.Errorf("prune pattern %q: %w", p, err)
		}
	}
	nodes := slices.Collect(t.Walk()) // only once, because sorting takes longer than matching
	gone := map[string]bool{}
	for i, r := range rules {
		matched := r.matches(nodes)
		if len(matched) == 0 {
			unmatched = append(unmatched, patterns[i])
		}
		for _, p := range matched {
			gone[p] = true
		}
	}
	pruned = t.Clone()
	remove(pruned, nodes, gone)
	return pruned, unmatched, nil
}

// Remover returns the first of the patterns that matches the node at p in t, or "".
func Remover(t *tree.Tree, patterns []string, p string) string {
	nodes := slices.Collect(t.Walk())
	for _, pattern := range patterns {
		if r, err := parse(pattern); err == nil && slices.Contains(r.matches(nodes), p) {
			return pattern
		}
	}
	return ""
}

// remove deletes the nodes in gone, except directories in which something remains.
func remove(t *tree.Tree, nodes []*tree.Node, gone map[string]bool) {
	for _, n := range nodes {
		if gone[n.Path] {
			continue
		}
		for dir := path.Dir(n.Path); gone[dir]; dir = path.Dir(dir) {
			delete(gone, dir)
		}
	}
	alive := liveLinks(t, nodes)
	t.RemoveFunc(func(n *tree.Node) bool { return gone[n.Path] })
	dead := map[string]bool{}
	for _, p := range alive {
		if t.Get(p) == nil {
			continue
		}
		if _, err := t.Resolve(p); err != nil {
			dead[p] = true
		}
	}
	t.RemoveFunc(func(n *tree.Node) bool { return dead[n.Path] })
}

// liveLinks returns the symbolic links whose target exists.
func liveLinks(t *tree.Tree, nodes []*tree.Node) []string {
	var links []string
	for _, n := range nodes {
		if n.Mode&fs.ModeSymlink == 0 {
			continue
		}
		if _, err := t.Resolve(n.Path); err == nil {
			links = append(links, n.Path)
		}
	}
	return links
}

// rule is one parsed pattern.
type rule struct {
	names  []string // the components of the pattern
	prefix string   // the literal beginning of every match
	except []string
}

func parse(pattern string) (*rule, error) {
	words := strings.Fields(pattern)
	if len(words) == 0 || len(words) == 2 || len(words) > 2 && words[1] != "except" {
		return nil, fmt.Errorf("want PATTERN or PATTERN except NAME…")
	}
	p := strings.TrimPrefix(words[0], "/")
	if !fs.ValidPath(p) || p == "." {
		return nil, fmt.Errorf("%q is not a clean path", words[0])
	}
	r := &rule{names: strings.Split(p, "/")}
	if len(r.names) < 2 || strings.ContainsAny(r.names[0], "*?[") {
		return nil, fmt.Errorf("reaches for the whole root: name at least one directory first")
	}
	r.prefix = p
	if i := strings.IndexAny(p, "*?[\\"); i >= 0 {
		r.prefix = p[:i]
		// "dir/**/x" also matches "dir/x".
		if strings.HasPrefix(p[i:], "**/") {
			r.prefix = strings.TrimSuffix(r.prefix, "/")
		}
	}
	if len(words) > 2 {
		r.except = words[2:]
	}
	return r, r.check()
}

// check refuses patterns on which path.Match would fail later.
func (r *rule) check() error {
	for _, name := range append(append([]string{}, r.names...), r.except...) {
		if _, err := path.Match(name, ""); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if strings.Contains(name, "**") && name != "**" {
			return fmt.Errorf("%q: ** stands for whole directories only", name)
		}
	}
	return nil
}

// matches lists the nodes that the rule removes.
func (r *rule) matches(nodes []*tree.Node) []string {
	var out []string
	inside := map[string]bool{} // matching directories, and those below them
	for _, n := range nodes {
		if n.Path == "." || !strings.HasPrefix(n.Path, r.prefix) {
			continue
		}
		if !inside[path.Dir(n.Path)] && !matchNames(r.names, strings.Split(n.Path, "/")) {
			continue
		}
		if n.Mode.IsDir() {
			inside[n.Path] = true
		}
		if !r.excepts(n.Path) {
			out = append(out, n.Path)
		}
	}
	return out
}

func (r *rule) excepts(p string) bool {
	for _, e := range r.except {
		subject := p
		if !strings.Contains(e, "/") {
			subject = path.Base(p)
		}
		if ok, _ := path.Match(strings.TrimPrefix(e, "/"), subject); ok {
			return true
		}
	}
	return false
}

// matchNames compares a pattern with a path, component by component.
func matchNames(pattern, names []string) bool {
	for len(pattern) > 0 {
		if pattern[0] != "**" {
			if len(names) == 0 {
				return false
			}
			if ok, _ := path.Match(pattern[0], names[0]); !ok {
				return false
			}
			pattern, names = pattern[1:], names[1:]
			continue
		}
		if len(pattern) == 1 { // everything below, not the directory itself
			return len(names) > 0
		}
		for i := range names {
			if matchNames(pattern[1:], names[i:]) {
				return true
			}
		}
		return false
	}
	return len(names) == 0
}

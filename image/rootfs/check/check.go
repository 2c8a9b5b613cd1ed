// Package check looks in a finished root for what would fail on the node, or be wrong
// there, although every step of the build succeeded: programs without their libraries or
// interpreters, units without their programs or users, dangling links, unexpected
// privileges, an identity that all nodes would share.
//
// It changes nothing and runs nothing. It reads a file's content only if name and mode do
// not suffice. What it learns from the content is cached under the content's digest if
// there is a cache.
package check

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Options change how a root is checked.
type Options struct {
	// Remember returns what compute returned earlier for the same kind and key, as
	// fetch.Cache does. nil caches nothing.
	Remember func(ctx context.Context, kind, key string, compute func() ([]byte, error)) ([]byte, error)
}

// Finding is one fault of a root.
type Finding struct {
	Path   string // in the tree
	Source string // the package, overlay or build step that the node comes from
	Msg    string
}

// Error holds all faults of a root, sorted by path.
type Error struct{ Findings []Finding }

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the finished root has %d faults:", len(e.Findings))
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "\n/%s (%s): %s", f.Path, f.Source, f.Msg)
	}
	return b.String()
}

// checker collects the findings about one tree.
type checker struct {
	tree  *tree.Tree
	nodes []*tree.Node            // in the order of Walk
	in    map[string][]*tree.Node // by directory, in the same order
	facts facts
	found []Finding
}

func (c *checker) add(n *tree.Node, format string, args ...any) {
	c.found = append(c.found, Finding{Path: n.Path, Source: n.Source, Msg: fmt.Sprintf(format, args...)})
}

func newChecker(t *tree.Tree) *checker {
	c := &checker{tree: t, nodes: slices.Collect(t.Walk()), in: map[string][]*tree.Node{}}
	for _, n := range c.nodes {
		if n.Path != "." {
			c.in[path.Dir(n.Path)] = append(c.in[path.Dir(n.Path)], n)
		}
	}
	return c
}

// Check returns an *Error with all findings, or another error if a file cannot be read.
func Check(ctx context.Context, t *tree.Tree, opt Options) error {
	c := newChecker(t)
	var err error
	if c.facts, err = learn(ctx, c.nodes, opt); err != nil {
		return err
	}
	c.links()
	c.modes()
	c.programs()
	for _, check := range []func() error{c.identity, c.owners, c.units} {
		if err := check(); err != nil {
			return err
		}
	}
	if len(c.found) == 0 {
		return nil
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int { return tree.ComparePaths(a.Path, b.Path) })
	return &Error{c.found}
}

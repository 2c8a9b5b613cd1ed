package kmod

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// What the tests ask of a tree once, as functions.

func pruneTree(t *tree.Tree, version string, keep []string) (removed int, err error) {
	m, err := open(context.Background(), t, version, Options{})
	if err != nil {
		return 0, err
	}
	return m.prune(keep)
}

func depmodTree(t *tree.Tree, version string, modTime time.Time) error {
	m, err := open(context.Background(), t, version, Options{})
	if err != nil {
		return err
	}
	return m.depmod(modTime)
}

func closureTree(t *tree.Tree, version string, names []string) ([]Module, error) {
	m, err := open(context.Background(), t, version, Options{})
	if err != nil {
		return nil, err
	}
	return m.Closure(names)
}

// Package kmod knows a kernel's modules inside a file tree: which depend on
// which, which of them an image needs, uncompressed, and the indexes that
// modprobe(8) wants to find beside them. It does what depmod(8) does, without
// running it.
//
// It refuses names that neither a module nor the kernel itself has, modules
// that depend on one that is missing, dependency cycles, and files that are
// no kernel modules. It reads no depmod.d configuration, follows no symbolic
// link below the directory of a kernel, and checks neither signatures nor
// symbol versions.
package kmod

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Module is one loadable module of a tree.
type Module struct {
	// Name is the module's name as the kernel has it, with underscores.
	Name string
	// Path is that of its file in the tree.
	Path string
	// Soft tells that nothing asked for fails without this module: it came
	// by a soft dependency alone, and its loading may fail.
	Soft bool
	// Needs names the modules without which this one cannot be loaded.
	Needs []string
}

// Modules are the modules of one kernel in one tree. What was once read of a
// file is kept, so that pruning, indexing and listing decompress each needed
// module once. It is not safe for concurrent use.
type Modules struct {
	tree      *tree.Tree
	dir       string             // "usr/lib/modules/VERSION"
	files     map[string]*module // by name
	builtin   map[string]bool    // names of what is compiled in
	ctx       context.Context    // of Open; the methods are its steps
	opt       Options
	providers []*module // of crypto algorithms, once loaded
	riddles   []string
}

// Options for Select.
type Options struct {
	// Remember returns what compute once returned for a kind and a key, as
	// fetch.Cache does. Results depend on nothing but names and digests of
	// modules, so that a build that finds them reads no module at all. Nil
	// keeps nothing.
	Remember func(ctx context.Context, kind, key string, compute func() ([]byte, error)) ([]byte, error)
}

// Select gives a tree like t that has of a kernel's modules only what keep asks
// for, uncompressed, with their indexes, whose files get the time given. version is the
// kernel's release, as uname(1) prints it.
func Select(ctx context.Context, t *tree.Tree, version string, keep []string, modTime time.Time, opt Options) (*Modules, error) {
	m, err := open(ctx, t.Clone(), version, opt)
	if err != nil {
		return nil, err
	}
	if _, err := m.prune(keep); err != nil {
		return nil, err
	}
	if err := m.unpack(); err != nil {
		return nil, err
	}
	return m, m.depmod(modTime)
}

// Riddles are the kept modules that ask the kernel for others by name while
// they run, and of which nothing tells for which others.
func (m *Modules) Riddles() []string { return m.riddles }

// Tree is the tree that the modules are in. Nobody changes it.
func (m *Modules) Tree() *tree.Tree { return m.tree }

// open finds the modules of a kernel in usr/lib/modules or lib/modules of t.
func open(ctx context.Context, t *tree.Tree, version string, opt Options) (*Modules, error) {
	dir, err := findDir(t, version)
	if err != nil {
		return nil, err
	}
	m := &Modules{tree: t, dir: dir, ctx: ctx, opt: opt}
	if m.files, err = listModules(t, dir); err != nil {
		return nil, err
	}
	if m.builtin, err = readBuiltin(t, dir); err != nil {
		return nil, err
	}
	return m, nil
}

// Package kmod handles a kernel's modules in a file tree: it finds out which depend on
// which, keeps those that an image needs, uncompressed, and writes the indexes that
// modprobe(8) expects beside them. It does what depmod(8) does, without running it.
//
// It refuses names that are neither a module nor compiled into the kernel, modules that
// depend on a missing one, dependency cycles, and files that are not kernel modules. It
// reads no depmod.d configuration, follows no symbolic link below a kernel's directory, and
// checks neither signatures nor symbol versions.
package kmod

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Module is one loadable module of a tree.
type Module struct {
	// Name is the module's name in the kernel, with underscores.
	Name string
	// Path is the path of the module's file in the tree.
	Path string
	// Soft says that the module came in only as a soft dependency: nothing that was asked
	// for fails without it, so its loading may fail.
	Soft bool
	// Needs names the modules without which this one cannot be loaded.
	Needs []string
}

// Modules are the modules of one kernel in one tree. What was read from a file is kept, so
// that pruning, indexing and listing decompress each needed module only once. It is not
// safe for concurrent use.
type Modules struct {
	tree      *tree.Tree
	dir       string             // "usr/lib/modules/VERSION"
	files     map[string]*module // by name
	builtin   map[string]bool    // names of the modules that are compiled in
	ctx       context.Context    // given to open; the methods run as steps of that call's work
	opt       Options
	providers []*module // of crypto algorithms, once loaded
	riddles   []string
}

// Options are the options of Select and AllDrivers.
type Options struct {
	// Remember returns what compute returned earlier for the same kind and key, as
	// fetch.Cache does. Results depend only on names and digests of modules, so a build
	// that finds them in the cache reads no module at all. nil caches nothing.
	Remember func(ctx context.Context, kind, key string, compute func() ([]byte, error)) ([]byte, error)
}

// Select returns the modules that keep asks for, in a copy of t that has no others. They
// are uncompressed and have indexes, whose files get modTime. version is the kernel's
// release, as uname(1) prints it. See prune for the syntax of keep.
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

// Riddles are the kept modules that request others by name while they run, where it is
// unknown which ones.
func (m *Modules) Riddles() []string { return m.riddles }

// Tree is the tree that contains the modules. It must not be changed.
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

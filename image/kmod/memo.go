package kmod

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
)

const (
	// cacheKind is the kind of this package's entries in the cache.
	cacheKind = "kmod"
	// cacheVersion is part of every key. Change it when the computation changes.
	cacheVersion = "4"
)

// remember returns the result of compute, from the cache if it has one for key. key must
// cover all inputs of compute.
func (m *Modules) remember(key string, compute func() ([]byte, error)) ([]byte, error) {
	if m.opt.Remember == nil {
		return compute()
	}
	return m.opt.Remember(m.ctx, cacheKind, key, compute)
}

// errDamaged means that a cached result has the right digest and yet does not fit: the key
// lacks an input.
var errDamaged = errors.New("cached module index does not fit")

// fingerprint is the cache key for a question about the present modules. It covers the
// names and digests of all files on which the answer depends, and the tables of this
// package.
func (m *Modules) fingerprint(question string, args ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %q %s\n", cacheVersion, question, args, m.dir)
	fmt.Fprintf(h, "%q %q\n", requests, renamed) // maps are printed sorted
	for _, x := range m.list() {
		fmt.Fprintf(h, "%s %s\n", x.rel, x.node.Content.SHA256())
	}
	for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		if n := m.tree.Get(path.Join(m.dir, name)); n != nil && n.Content != nil {
			fmt.Fprintf(h, "%s %s\n", name, n.Content.SHA256())
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

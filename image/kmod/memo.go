package kmod

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
)

const (
	// cacheKind is the kind of derived files made here.
	cacheKind = "kmod"
	// cacheVersion is part of every key: whoever changes what is computed
	// changes it.
	cacheVersion = "4"
)

// remember returns what compute returns for the inputs that key stands for,
// from the cache if it is there.
func (m *Modules) remember(key string, compute func() ([]byte, error)) ([]byte, error) {
	if m.opt.Remember == nil {
		return compute()
	}
	return m.opt.Remember(m.ctx, cacheKind, key, compute)
}

// errDamaged is a remembered result that its digest vouches for and that yet
// does not fit: the key lacks an input.
var errDamaged = errors.New("cached module index does not fit")

// fingerprint is a key for the question asked of the present modules: it
// covers the names and digests of all files that an answer rests on, and the
// tables of this package that no file has.
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

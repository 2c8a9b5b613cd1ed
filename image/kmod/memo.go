package kmod

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// Cache keeps derived files by kind and key, as a fetch.Cache does.
type Cache interface {
	// Derive opens the file kind/key, having it written by build if it is
	// absent.
	Derive(ctx context.Context, kind, key string, build func(w io.Writer) error) (*os.File, error)
	// Drop forgets a file that proved damaged.
	Drop(kind, key string) error
}

const (
	// cacheKind is the kind of derived files made here.
	cacheKind = "kmod"
	// cacheVersion is part of every key: whoever changes what is computed
	// changes it.
	cacheVersion = "2"
)

// memo remembers results in a cache, if there is one.
type memo struct {
	ctx   context.Context
	cache Cache
}

// get returns what compute returns for the inputs that key stands for.
func (m memo) get(key string, compute func() ([]byte, error)) ([]byte, error) {
	if m.cache == nil {
		return compute()
	}
	b, err := m.derive(key, compute)
	if errors.Is(err, errDamaged) {
		if err := m.cache.Drop(cacheKind, key); err != nil {
			return nil, err
		}
		b, err = m.derive(key, compute)
	}
	return b, err
}

var errDamaged = errors.New("cached module index is damaged")

func (m memo) derive(key string, compute func() ([]byte, error)) ([]byte, error) {
	f, err := m.cache.Derive(m.ctx, cacheKind, key, func(w io.Writer) error {
		b, err := compute()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		_, err = w.Write(append(sum[:], b...))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	if len(b) < sha256.Size {
		return nil, errDamaged
	}
	if sum := sha256.Sum256(b[sha256.Size:]); !bytes.Equal(sum[:], b[:sha256.Size]) {
		return nil, errDamaged
	}
	return b[sha256.Size:], nil
}

// fingerprint is a key for the question asked of the present modules: it
// covers the names and digests of all files that an answer rests on.
func (m *Modules) fingerprint(question string, args ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %q %s\n", cacheVersion, question, args, m.dir)
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

// Package memo remembers what was once computed, in a cache of derived files:
// a key stands for all inputs of a computation, and a result that was damaged
// meanwhile is computed again.
//
// It knows no cache in particular and does not decide what a key must cover.
package memo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
)

// Cache keeps derived files by kind and key, as a fetch.Cache does.
type Cache interface {
	// Derive opens the file kind/key, having it written by build if it is
	// absent.
	Derive(ctx context.Context, kind, key string, build func(w io.Writer) error) (*os.File, error)
	// Drop forgets a file that proved damaged.
	Drop(kind, key string) error
}

// Bytes returns what compute returns for the inputs that key stands for. With
// a nil cache it always computes.
func Bytes(ctx context.Context, cache Cache, kind, key string, compute func() ([]byte, error)) ([]byte, error) {
	if cache == nil {
		return compute()
	}
	b, err := derive(ctx, cache, kind, key, compute)
	if errors.Is(err, errDamaged) {
		if err := cache.Drop(kind, key); err != nil {
			return nil, err
		}
		b, err = derive(ctx, cache, kind, key, compute)
	}
	return b, err
}

var errDamaged = errors.New("a remembered result is damaged")

// derive reads the derived file of key: the result after its own digest.
func derive(ctx context.Context, cache Cache, kind, key string, compute func() ([]byte, error)) ([]byte, error) {
	f, err := cache.Derive(ctx, kind, key, func(w io.Writer) error {
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

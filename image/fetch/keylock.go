package fetch

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/image/flock"
)

// keyLocks makes goroutines of this process wait for each other without polling; lock files
// do the same between processes, with polling.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func (k *keyLocks) lock(ctx context.Context, name string) error {
	for {
		k.mu.Lock()
		ch, taken := k.held[name]
		if !taken {
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			k.held[name] = make(chan struct{})
		}
		k.mu.Unlock()
		if !taken {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (k *keyLocks) unlock(name string) {
	k.mu.Lock()
	close(k.held[name])
	delete(k.held, name)
	k.mu.Unlock()
}

func lockName(kind, key string) string { return kind + "-" + key }

// lock waits until the caller is the only one working on a key.
func (c *Cache) lock(ctx context.Context, kind, key string) (unlock func(), err error) {
	name := lockName(kind, key)
	if err := c.keys.lock(ctx, name); err != nil {
		return nil, err
	}
	file := filepath.Join(c.dir, lockDir, name)
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		f, ok, err := flock.TryPath(file)
		if err != nil {
			c.keys.unlock(name)
			return nil, fmt.Errorf("lock a cache entry: %w", err)
		}
		if ok {
			return func() { flock.Release(f); c.keys.unlock(name) }, nil
		}
		if err := ctxio.Sleep(ctx, wait); err != nil {
			c.keys.unlock(name)
			return nil, err
		}
	}
}

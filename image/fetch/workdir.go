package fetch

import (
	"context"
	"os"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// WorkDir makes an empty directory for the unfinished files of a program that derives something,
// and waits until no other user of the cache has that of kind and key. remove must be called in
// the end. Where a killed process did not, the next OpenCache removes the directory.
func (c *Cache) WorkDir(ctx context.Context, kind, key string) (dir string, remove func(), err error) {
	if err := checkNames(kind, key); err != nil {
		return "", nil, err
	}
	unlock, err := c.lock(ctx, kind, key)
	if err != nil {
		return "", nil, err
	}
	dir = c.tmp(kind, key)
	remove = func() {
		os.RemoveAll(dir)
		unlock()
	}
	err = os.RemoveAll(dir)
	if err == nil {
		err = atomicfile.MkdirAll(dir, 0o700)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

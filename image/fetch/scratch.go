package fetch

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/flock"
)

// Scratch is the method for a command that needs nothing else of the cache.
func Scratch(what string) (dir string, remove func(), err error) {
	c, err := OpenCache("")
	if err != nil {
		return "", nil, err
	}
	defer c.Close()
	return c.Scratch(what)
}

// Scratch makes a directory, for the user alone, for what it is named after: large or unfinished
// files. They are on the cache's disk, because os.TempDir is in memory on many systems. They are
// no entries of the cache, which may be closed or pruned meanwhile. remove removes them; if this
// process is killed, the next one that opens the cache does.
func (c *Cache) Scratch(what string) (dir string, remove func(), err error) {
	for {
		name := what + "-" + rand.Text()[:8] // short, as sockets in it have short names only
		lock, ok, err := c.lockScratch(name)
		if err != nil {
			return "", nil, fmt.Errorf("lock a directory for large files: %w", err)
		}
		if !ok {
			continue
		}
		dir = filepath.Join(c.dir, scratchDir, name)
		remove = func() { os.RemoveAll(dir); flock.Release(lock) }
		if err := atomicfile.MkdirAll(dir, 0o700); err != nil {
			remove()
			return "", nil, err
		}
		return dir, remove, nil
	}
}

// lockScratch takes the lock that a command holds before its directory is there and until
// it is gone.
func (c *Cache) lockScratch(name string) (lock *os.File, ok bool, err error) {
	return flock.TryPath(filepath.Join(c.dir, lockDir, lockName(scratchDir, name)))
}

// sweepScratch removes the directories of killed commands, as far as that is possible.
func (c *Cache) sweepScratch() {
	entries, _ := os.ReadDir(filepath.Join(c.dir, scratchDir))
	for _, e := range entries {
		if lock, ok, err := c.lockScratch(e.Name()); err == nil && ok {
			os.RemoveAll(filepath.Join(c.dir, scratchDir, e.Name()))
			flock.Release(lock)
		}
	}
}

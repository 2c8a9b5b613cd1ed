// Package blockcache keeps compressed blocks between builds, in few files of a
// directory that is its own. It implements squashfs.Cache.
//
// What was Put becomes one immutable segment at Commit, by a rename: a process
// may be killed at any moment, and any number of processes may share the
// directory, without locks. Every block and every index carries a digest; what
// does not match is forgotten. Nothing is synced to disk, as a lost segment
// costs seconds and a damaged one is noticed.
//
// It refuses to fail a build: whatever goes wrong, blocks are merely not found.
// Close tells of it.
package blockcache

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	segmentSuffix = ".blocks"
	tempPrefix    = "tmp-"
	// tempAge is when a temporary file must be that of a process that died.
	tempAge = 24 * time.Hour
	// maxSegments is how many segments there may be before a Commit merges the
	// smallest, down to half as many.
	maxSegments = 16
)

// Key names a block.
type Key = [32]byte

// Cache is one process's view of a directory: what was there when it was
// opened, and what it committed itself. It is safe for concurrent use.
type Cache struct {
	dir   string
	limit int64

	mu       sync.Mutex
	segments []*segment
	index    map[Key]record
	pending  *pending
	err      error // the first that kept blocks from being stored
}

// Open opens the cache in dir, which is made if need be. After each Commit its
// segments have no more than limit bytes, the least recently used ones going
// first.
func Open(dir string, limit int64) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("block cache: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("block cache: %w", err)
	}
	c := &Cache{dir: dir, limit: limit, index: map[Key]record{}}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), tempPrefix):
			removeStale(name)
		case strings.HasSuffix(e.Name(), segmentSuffix):
			c.load(name)
		}
	}
	return c, nil
}

// removeStale removes a temporary file that nobody writes any more.
func removeStale(name string) {
	if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > tempAge {
		os.Remove(name)
	}
}

// load adds the segment name to the index. One that cannot be read is removed:
// segments are whole before they get their names.
func (c *Cache) load(name string) {
	s, records, err := openSegment(name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return
	}
	if err != nil {
		os.Remove(name)
		return
	}
	c.segments = append(c.segments, s)
	for key, r := range records {
		c.index[key] = r
	}
}

// Get appends the block of key to buf, or returns false.
func (c *Cache) Get(key Key, buf []byte) ([]byte, bool) {
	c.mu.Lock()
	r, ok := c.index[key]
	if ok {
		r.segment.used = true
	}
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	data, err := r.read(buf)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.index, key)
		r.segment.damaged = true
		return nil, false
	}
	return data, true
}

// Put stores a block for the next Commit.
func (c *Cache) Put(key Key, data []byte) {
	sum := checksum(data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.index[key]; ok || c.err != nil {
		return
	}
	if c.pending == nil {
		c.pending, c.err = newPending(c.dir)
	}
	if c.err == nil && c.pending.size()+int64(len(data)) < c.limit {
		c.err = c.pending.add(key, sum, data)
	}
}

// Commit keeps what was Put since the last one.
func (c *Cache) Commit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.outdated()
	if c.pending == nil && len(old) > 0 && c.err == nil {
		c.pending, c.err = newPending(c.dir)
	}
	c.copyBlocks(old)
	c.publish(old)
	c.abort()
	c.touch()
	c.prune()
}

// outdated returns the segments whose blocks the next one takes over: damaged
// ones, and the smallest where there are too many.
func (c *Cache) outdated() []*segment {
	slices.SortFunc(c.segments, func(a, b *segment) int { return cmp.Compare(a.size, b.size) })
	var old []*segment
	for i, s := range c.segments {
		if s.damaged || len(c.segments) >= maxSegments && i < len(c.segments)-maxSegments/2 {
			old = append(old, s)
		}
	}
	return old
}

// copyBlocks adds the blocks of old segments to the pending one.
func (c *Cache) copyBlocks(old []*segment) {
	for key, r := range c.index {
		if c.err != nil || !slices.Contains(old, r.segment) {
			continue
		}
		if data, err := r.read(nil); err == nil {
			c.err = c.pending.add(key, r.sum, data)
		}
	}
}

// publish makes the pending segment a real one in place of the old ones.
func (c *Cache) publish(old []*segment) {
	if c.pending == nil || c.err != nil {
		return
	}
	name, err := c.pending.publish(c.dir)
	if err != nil {
		c.err = err
		return
	}
	c.pending = nil
	for _, s := range old {
		c.forget(s)
		if s.name != name { // the same blocks again, this time undamaged
			os.Remove(s.name)
		}
	}
	c.load(name)
}

// touch marks the segments that were of use as recently used.
func (c *Cache) touch() {
	now := time.Now()
	for _, s := range c.segments {
		if s.used {
			s.modTime, s.used = now, false
			// Without permission or on a read-only disk it just ages.
			_ = os.Chtimes(s.name, now, now)
		}
	}
}

// prune drops segments until the rest is within the limit.
func (c *Cache) prune() {
	slices.SortStableFunc(c.segments, func(a, b *segment) int { return b.modTime.Compare(a.modTime) })
	var total int64
	for _, s := range slices.Clone(c.segments) {
		if total += s.size; total > c.limit {
			c.drop(s)
		}
	}
}

// drop forgets a segment and removes its file.
func (c *Cache) drop(s *segment) {
	c.forget(s)
	os.Remove(s.name)
}

// forget closes a segment; none of its blocks are found any more.
func (c *Cache) forget(s *segment) {
	c.segments = slices.DeleteFunc(c.segments, func(o *segment) bool { return o == s })
	for key, r := range c.index {
		if r.segment == s {
			delete(c.index, key)
		}
	}
	s.file.Close()
}

// abort forgets what was Put.
func (c *Cache) abort() {
	if c.pending != nil {
		c.pending.abort()
		c.pending = nil
	}
}

// Close discards what was not committed and returns the first error that kept
// blocks from being stored, for those who want to tell.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abort()
	for _, s := range c.segments {
		s.file.Close()
	}
	c.segments, c.index = nil, map[Key]record{}
	if c.err != nil {
		return fmt.Errorf("block cache: %w", c.err)
	}
	return nil
}

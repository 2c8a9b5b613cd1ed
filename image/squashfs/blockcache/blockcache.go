// Package blockcache keeps compressed blocks between builds, in a few files in its own
// directory. It implements squashfs.Cache.
//
// At Commit, the blocks that were Put become one immutable segment, by a rename. So a
// process may be killed at any moment, and any number of processes may share the directory
// without locks. Every block and every index has a digest; damaged ones are ignored.
// Nothing is synced to disk: a lost segment costs seconds, and a damaged one is detected.
//
// It never makes a build fail: whatever goes wrong, blocks are just not found. Close
// returns the error.
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
	// tempAge is the age at which a temporary file must belong to a process that has died.
	tempAge = 24 * time.Hour
	// maxSegments is the number of segments at which Commit merges the smallest, so that
	// half as many are left.
	maxSegments = 16
)

// Key names a block.
type Key = [32]byte

// Cache is one process's view of a directory: the segments that existed when it was opened,
// and those that it committed itself. It is safe for concurrent use.
type Cache struct {
	dir   string
	limit int64

	mu       sync.Mutex
	segments []*segment
	index    map[Key]record
	pending  *pending
	err      error // the first error that kept blocks from being stored
}

// Open opens the cache in dir, creating it if necessary. After each Commit its segments
// have at most limit bytes in total; the least recently used ones are removed first.
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

// removeStale removes a temporary file that no process writes any more.
func removeStale(name string) {
	if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > tempAge {
		os.Remove(name)
	}
}

// load adds the segment called name to the index. It removes a segment that is damaged:
// segments are complete before they get their names.
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

// Get appends the block for key to buf, or returns false.
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

// Commit stores what was Put since the last Commit.
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

// outdated returns the segments whose blocks move to the next one: damaged ones and, if
// there are too many, the smallest.
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

// publish gives the pending segment its name and removes the old ones.
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
		if s.name != name { // it would be equal if this is the same segment again, now undamaged
			os.Remove(s.name)
		}
	}
	c.load(name)
}

// touch marks the segments that were used since the last Commit as recently used.
func (c *Cache) touch() {
	now := time.Now()
	for _, s := range c.segments {
		if s.used {
			s.modTime, s.used = now, false
			// Without permission or on a read-only disk, the segment just ages.
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

// drop removes a segment from the index and from the disk.
func (c *Cache) drop(s *segment) {
	c.forget(s)
	os.Remove(s.name)
}

// forget closes a segment; its blocks are not found any more.
func (c *Cache) forget(s *segment) {
	c.segments = slices.DeleteFunc(c.segments, func(o *segment) bool { return o == s })
	for key, r := range c.index {
		if r.segment == s {
			delete(c.index, key)
		}
	}
	s.file.Close()
}

// abort discards what was Put.
func (c *Cache) abort() {
	if c.pending != nil {
		c.pending.abort()
		c.pending = nil
	}
}

// Close discards what was not committed. It returns the first error that kept blocks from
// being stored, which callers may report or ignore.
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

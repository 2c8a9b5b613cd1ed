package fetch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/flock"
)

// Usage is the space that one kind of entry takes.
type Usage struct {
	Kind    string // Downloads, a kind of Derive, "index", "newest", "squashfs" or "unfinished"
	Entries int
	Bytes   int64
}

// Info counts the entries and bytes of every kind, sorted by kind.
func (c *Cache) Info() ([]Usage, error) {
	entries, err := c.list()
	if err != nil {
		return nil, err
	}
	return usage(entries), nil
}

// Policy says what Prune removes: an entry that any of the rules selects. The zero value
// removes nothing.
type Policy struct {
	All      bool          // everything
	MaxAge   time.Duration // entries not used for longer; 0 means no limit
	MaxBytes int64         // the longest unused, until at most this much is left; 0 means no limit
}

// errInUse means that another process is using the cache.
var errInUse = errors.New("the cache is in use by another build; try again when it has ended")

// Prune removes entries by policy and returns what it removed. The error is errInUse if
// another process, or another open Cache of this process, uses the cache.
func (c *Cache) Prune(pol Policy) ([]Usage, error) {
	if c.inUse == nil { // there is no cache
		return nil, nil
	}
	ok, err := flock.TryExclusive(c.inUse)
	if err != nil {
		return nil, err
	}
	if !ok {
		// The shared lock may be lost after a failed conversion (flock(2)).
		if ok, err := flock.TryShared(c.inUse); err != nil || !ok {
			return nil, errors.Join(errInUse, err)
		}
		return nil, errInUse
	}
	defer flock.TryShared(c.inUse)
	all, err := c.list()
	if err != nil {
		return nil, err
	}
	doomed := pol.choose(all, time.Now())
	for _, e := range doomed {
		if err := remove(e.path); err != nil {
			return nil, fmt.Errorf("prune the cache: %w", err)
		}
	}
	return usage(doomed), nil
}

type entry struct {
	kind, path string
	size       int64
	used       time.Time
}

// choose returns the entries to remove, the longest unused first.
func (pol Policy) choose(all []entry, now time.Time) []entry {
	slices.SortStableFunc(all, func(a, b entry) int { return a.used.Compare(b.used) })
	var total int64
	for _, e := range all {
		total += e.size
	}
	var doomed []entry
	for _, e := range all {
		old := pol.MaxAge > 0 && now.Sub(e.used) > pol.MaxAge
		over := pol.MaxBytes > 0 && total > pol.MaxBytes
		// Without the newest date of an index, an older index would be accepted.
		if pol.All || (old || over) && e.kind != newestDir {
			doomed = append(doomed, e)
			total -= e.size
		}
	}
	return doomed
}

func remove(path string) error {
	err := os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.Remove(path + sumSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// list walks the cache. Files that vanish meanwhile are ignored.
func (c *Cache) list() ([]entry, error) {
	var all []entry
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, sumSuffix) {
			return ignoreAbsent(err)
		}
		fi, err := d.Info()
		if err != nil {
			return ignoreAbsent(err)
		}
		if kind := c.kindOf(path); kind != "" {
			all = append(all, entry{kind, path, fi.Size(), fi.ModTime()})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the cache: %w", err)
	}
	return all, nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// kindOf returns the kind of the entry at path, or "" if it is no entry.
func (c *Cache) kindOf(path string) string {
	rel, err := filepath.Rel(c.dir, path)
	if err != nil {
		return ""
	}
	parts := strings.Split(filepath.ToSlash(rel), "/")
	switch {
	case parts[0] == tmpDir, parts[0] == blocksDir && strings.HasPrefix(parts[1], "tmp-"):
		return "unfinished"
	case parts[0] == derivedDir && len(parts) == 3:
		return parts[1]
	case parts[0] == Downloads, parts[0] == indexDir, parts[0] == newestDir, parts[0] == blocksDir:
		return parts[0]
	}
	return ""
}

func usage(entries []entry) []Usage {
	byKind := map[string]*Usage{}
	var out []Usage
	for _, e := range entries {
		if byKind[e.kind] == nil {
			byKind[e.kind] = &Usage{Kind: e.kind}
		}
		byKind[e.kind].Entries++
		byKind[e.kind].Bytes += e.size
	}
	for _, u := range byKind {
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b Usage) int { return strings.Compare(a.Kind, b.Kind) })
	return out
}

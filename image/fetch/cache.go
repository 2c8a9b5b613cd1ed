// Package fetch keeps what a build reads from elsewhere: downloads named by
// their sha256, files derived from them named by kind and key, and signed
// indexes named by their URL. It brings them in with retries, resume and a
// list of sources, so that callers see a file or one error that names every
// source and its reason.
//
// It refuses to hand out a download whose digest it has not computed once,
// and to keep anything half-written under its final name. It knows nothing of
// Debian, packages or images.
//
// # Damage
//
// A download is verified in full when it enters the cache, a derived file has a
// small file beside it with its size and digest. Being asked for costs a look at
// the size only, because a build that changes nothing must not hash hundreds of
// megabytes; reading a File checks its digest on the way. Readers that find
// damage report *DamagedError; whoever began the work calls Drop and starts
// again. What lies beside a derived file finds a bad disk, not somebody who
// writes into the cache on purpose.
//
// # Several builds at once
//
// One key is fetched or built by one process at a time, guarded by a lock file
// that dies with the process. Files appear by rename, so readers need no lock.
// Prune needs the cache for itself.
package fetch

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/flock"
)

// Cache is a directory of downloads and derived files, shared by any number
// of goroutines and processes.
type Cache struct {
	dir   string
	inUse *os.File // shared lock for as long as the cache is open
	keys  keyLocks
	http  *http.Client
	hosts hosts
	retry retryPolicy
}

// OpenCache opens the cache in dir, creating it if it is absent, and removes
// what killed processes left unfinished. With dir empty it is imagebuilder in
// $XDG_CACHE_HOME or, without that, in the user's cache directory.
func OpenCache(dir string) (*Cache, error) {
	dir, err := cacheDir(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{tmpDir, lockDir, indexDir, Downloads, derivedDir, newestDir, blocksDir} {
		if err := atomicfile.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open the cache: %w", err)
		}
	}
	c := &Cache{dir: dir, http: newClient(), retry: defaultRetry}
	if err := c.join(); err != nil {
		return nil, err
	}
	c.sweep()
	return c, nil
}

// OpenOld opens a cache to count and remove what is in it, and makes none: one that
// is not where dir says is an error. The usual one may be absent, which is empty.
func OpenOld(dir string) (*Cache, error) {
	at, err := cacheDir(dir)
	if err != nil {
		return nil, err
	}
	_, err = os.Stat(filepath.Join(at, Downloads))
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir == "":
		return &Cache{dir: at, http: newClient()}, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is no cache of imagebuilder", at)
	case err != nil:
		return nil, fmt.Errorf("open the cache: %w", err)
	}
	return OpenCache(dir)
}

// Close ends the use of the cache. Files that it handed out stay open.
func (c *Cache) Close() error {
	c.http.CloseIdleConnections()
	if c.inUse == nil { // of an absent one
		return nil
	}
	return c.inUse.Close()
}

// Dir is the directory of the cache.
func (c *Cache) Dir() string { return c.dir }

// Blocks is the directory for compressed blocks, package blockcache's own. Its
// files are entries of this cache, too: Info counts and Prune removes them.
func (c *Cache) Blocks() string { return filepath.Join(c.dir, blocksDir) }

// Downloads is the kind of the entries that Get makes; their key is their
// sha256. Drop and DamagedError speak of them under this name.
const Downloads = "sha256"

const (
	tmpDir     = "tmp"
	lockDir    = "lock"
	indexDir   = "index"
	derivedDir = "derived"
	newestDir  = "newest"
	blocksDir  = "squashfs"
)

func cacheDir(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	// os.UserCacheDir looks at this variable on Linux only.
	if x := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(x) {
		return filepath.Join(x, "imagebuilder"), nil
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the cache, set XDG_CACHE_HOME: %w", err)
	}
	return filepath.Join(user, "imagebuilder"), nil
}

// openLock makes the file that all who use the cache lock, and that stays. One that is
// there is only opened: it may lead to anybody's.
func openLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		atomicfile.Inherit(f)
	}
	if errors.Is(err, fs.ErrExist) {
		return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	}
	return f, err
}

// join takes the shared lock that keeps Prune of other processes out.
func (c *Cache) join() error {
	f, err := openLock(filepath.Join(c.dir, ".lock"))
	if err != nil {
		return fmt.Errorf("open the cache: %w", err)
	}
	// A running prune takes a moment at most.
	for range 600 {
		ok, err := flock.TryShared(f)
		if err != nil {
			f.Close()
			return fmt.Errorf("open the cache (set XDG_CACHE_HOME to a local disk): %w", err)
		}
		if ok {
			c.inUse = f
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.Close()
	return fmt.Errorf("open the cache: %s is being pruned by another process", c.dir)
}

// path is where the entry of a kind and key lies. Two letters of the key
// spread downloads over directories; derived kinds are small.
func (c *Cache) path(kind, key string) string {
	if kind == Downloads {
		return filepath.Join(c.dir, Downloads, key[:2], key)
	}
	return filepath.Join(c.dir, derivedDir, kind, key)
}

// tmp is the unfinished form of an entry. The name is fixed, so a later run
// finds what a killed one left; the key's lock keeps it to one writer.
func (c *Cache) tmp(kind, key string) string {
	return filepath.Join(c.dir, tmpDir, lockName(kind, key))
}

// Drop forgets an entry, so that the next Get or Derive makes it anew. An
// absent entry is no error.
func (c *Cache) Drop(kind, key string) error {
	if err := checkNames(kind, key); err != nil {
		return err
	}
	err := os.Remove(c.path(kind, key))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if kind != Downloads {
		os.Remove(c.path(kind, key) + sumSuffix)
	}
	return err
}

// partialLife is how long an interrupted download waits to be resumed.
const partialLife = 7 * 24 * time.Hour

// sweep removes unfinished files of processes that no longer live, except
// downloads that may still be resumed. It is a courtesy: failures cost space,
// nothing else.
func (c *Cache) sweep() {
	entries, err := os.ReadDir(filepath.Join(c.dir, tmpDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		c.sweepOne(e)
	}
	locks, _ := os.ReadDir(filepath.Join(c.dir, lockDir))
	for _, e := range locks {
		if l, ok, err := flock.TryPath(filepath.Join(c.dir, lockDir, e.Name())); err == nil && ok {
			flock.Release(l)
		}
	}
}

func (c *Cache) sweepOne(e fs.DirEntry) {
	l, ok, err := flock.TryPath(filepath.Join(c.dir, lockDir, e.Name()))
	if err != nil || !ok {
		return
	}
	defer flock.Release(l)
	fi, err := e.Info()
	if err != nil {
		return
	}
	name := filepath.Join(c.dir, tmpDir, e.Name())
	if strings.HasPrefix(e.Name(), Downloads+"-") && time.Since(fi.ModTime()) < partialLife && writable(name) {
		return
	}
	os.Remove(name)
}

// writable tells whether a download can go on in a file: not in one that root left in a
// user's cache, under sudo.
func writable(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// checkNames keeps kinds and keys usable as file names everywhere.
func checkNames(kind, key string) error {
	if kind == Downloads {
		return checkDigest(key)
	}
	if !plain(kind) || !plain(key) {
		return fmt.Errorf("cache entry %q/%q: not usable as a file name", kind, key)
	}
	return nil
}

func plain(s string) bool {
	const ok = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._"
	return s != "" && s[0] != '.' && len(s) < 150 && strings.Trim(s, ok) == "" && !strings.HasSuffix(s, sumSuffix)
}

func checkDigest(s string) error {
	if len(s) != 64 || strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) >= 0 {
		return fmt.Errorf("%q is not a sha256 in lower-case hex", s)
	}
	return nil
}

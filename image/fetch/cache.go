// Package fetch caches what a build reads from elsewhere: downloads by their sha256, files
// derived from them by kind and key, and signed indexes by their URL. It downloads with
// retries, resume and a list of sources. Callers get a file, or one error that names every
// source and why it failed.
//
// It never returns a download whose digest it has not verified once, and never keeps a
// half-written file under its final name. It knows nothing of Debian, packages or images.
//
// # Damage
//
// A download is verified in full when it enters the cache; a derived file has a small file
// beside it with its size and digest. Asking for an entry checks only its size, because a
// build that changes nothing must not hash hundreds of megabytes; reading a File checks its
// digest. A reader that finds damage returns *DamagedError; the top-level caller then calls
// Drop and starts again. The digest of a derived file detects a bad disk, not an attacker
// who can write into the cache.
//
// # Several builds at once
//
// A key is fetched or built by one process at a time, guarded by a file lock that ends with
// the process. Files get their final names by rename, so readers need no lock. Prune needs
// the cache for itself.
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

// OpenCache opens the cache in dir, creating it if necessary, and removes unfinished files
// of killed processes. If dir is "", it is imagebuilder in $XDG_CACHE_HOME or, if that is
// not set, in the user's cache directory.
func OpenCache(dir string) (*Cache, error) {
	dir, err := cacheDir(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{tmpDir, lockDir, indexDir, Downloads, derivedDir, newestDir, blocksDir, scratchDir} {
		if err := atomicfile.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open the cache: %w", err)
		}
	}
	c := &Cache{dir: dir, http: newClient(), retry: defaultRetry}
	if err := c.join(); err != nil {
		return nil, err
	}
	c.sweep()
	c.sweepScratch()
	return c, nil
}

// OpenOld opens an existing cache, for Info and Prune, and creates none: if dir has no
// cache, that is an error. If dir is "" and the default cache does not exist, it counts as
// empty.
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

// Close ends the use of the cache. Files returned before stay usable.
func (c *Cache) Close() error {
	c.http.CloseIdleConnections()
	if c.inUse == nil { // the cache does not exist; see OpenOld
		return nil
	}
	return c.inUse.Close()
}

// Dir returns the cache's directory.
func (c *Cache) Dir() string { return c.dir }

// Blocks is the directory for compressed blocks, which package blockcache manages. Its
// files also are entries of this cache: Info counts and Prune removes them.
func (c *Cache) Blocks() string { return filepath.Join(c.dir, blocksDir) }

// Downloads is the kind of the entries that Get makes; their key is their sha256. Drop and
// DamagedError use it.
const Downloads = "sha256"

const (
	tmpDir     = "tmp"
	lockDir    = "lock"
	indexDir   = "index"
	derivedDir = "derived"
	newestDir  = "newest"
	blocksDir  = "squashfs"
	scratchDir = "scratch"
)

func cacheDir(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	// os.UserCacheDir uses this variable on Linux only.
	if x := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(x) {
		return filepath.Join(x, "imagebuilder"), nil
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the cache, set XDG_CACHE_HOME: %w", err)
	}
	return filepath.Join(user, "imagebuilder"), nil
}

// openLock opens the permanent file that all users of the cache lock, creating it if it is
// missing. An existing file is not chowned (Inherit): it may be a link to anybody's file.
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

// join takes the shared lock that keeps other processes from running Prune.
func (c *Cache) join() error {
	f, err := openLock(filepath.Join(c.dir, ".lock"))
	if err != nil {
		return fmt.Errorf("open the cache: %w", err)
	}
	// A running Prune takes a moment at most.
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

// path is the path of an entry. Downloads are spread over directories by two letters of the
// key; derived kinds have few entries.
func (c *Cache) path(kind, key string) string {
	if kind == Downloads {
		return filepath.Join(c.dir, Downloads, key[:2], key)
	}
	return filepath.Join(c.dir, derivedDir, kind, key)
}

// tmp is the path of an unfinished entry. It is fixed, so that a later run finds what a
// killed one left; the key's lock allows one writer only.
func (c *Cache) tmp(kind, key string) string {
	return filepath.Join(c.dir, tmpDir, lockName(kind, key))
}

// Drop removes an entry, so that the next Get or Derive makes it again. It is no error if
// the entry does not exist.
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

// partialLife is how long an interrupted download is kept for resuming.
const partialLife = 7 * 24 * time.Hour

// sweep removes unfinished files of ended processes, except downloads that may still be
// resumed. Errors are ignored: they only cost space.
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

// writable tells whether a download can be resumed in a file. It cannot if root, under
// sudo, left the file in a user's cache.
func writable(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// checkNames refuses kinds and keys that cannot be file names on every system.
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

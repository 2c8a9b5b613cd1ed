package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// Request asks for one file whose content is known in advance.
type Request struct {
	Name   string   // what people call it, for progress and errors
	URLs   []string // sources, tried in order
	SHA256 string   // lower-case hex; required
	Size   int64    // bytes; ≤ 0 where unknown
	Once   bool     // one attempt per source: the caller can do without
	Limit  int64    // bytes that a file of unknown size may have; 0 for the usual
	// Via does what a source wants besides HTTP, such as a login, by URL. Those of
	// no entry are asked by the cache's own Transport. A redirect stays with the
	// source that it came from.
	Via map[string]http.RoundTripper
}

// Get returns the file from the cache, downloading it if it is absent or has
// another size. Interrupted downloads are resumed, also those of earlier runs.
// The error is *Error when no source worked.
func (c *Cache) Get(ctx context.Context, r Request, p progress.Reporter) (*File, error) {
	if err := checkDigest(r.SHA256); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", r.Name, err)
	}
	if f, ok := c.downloaded(r.SHA256, r.Size); ok {
		return f, nil
	}
	unlock, err := c.lock(ctx, Downloads, r.SHA256)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", r.Name, err)
	}
	defer unlock()
	if f, ok := c.downloaded(r.SHA256, r.Size); ok { // someone else was faster
		return f, nil
	}
	return c.download(ctx, r, p)
}

// Has tells whether an entry is there, without looking inside.
func (c *Cache) Has(kind, key string) bool {
	if checkNames(kind, key) != nil {
		return false
	}
	fi, err := os.Stat(c.path(kind, key))
	return err == nil && fi.Mode().IsRegular()
}

// downloaded returns the cached copy of a download, if it has the right size.
func (c *Cache) downloaded(sum string, size int64) (*File, bool) {
	path := c.path(Downloads, sum)
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() || size > 0 && fi.Size() != size {
		return nil, false
	}
	touch(path, fi)
	return &File{Downloads, sum, path, fi.Size(), sum}, true
}

// touch records the use of an entry for Prune, at most once a day to spare
// the disk.
func touch(path string, fi os.FileInfo) {
	if now := time.Now(); now.Sub(fi.ModTime()) > 24*time.Hour {
		_ = os.Chtimes(path, now, now)
	}
}

// checkFile compares the sha256 of a file. The error is *DigestError when
// it differs.
func checkFile(path, want string) error {
	got, _, err := sumFile(path)
	if err != nil {
		return err
	}
	if got != want {
		return &DigestError{Want: want, Got: got}
	}
	return nil
}

func sumFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// commit makes a finished temporary file durable and gives it its name.
func commit(tmp, path string) error {
	f, err := os.OpenFile(tmp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := atomicfile.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

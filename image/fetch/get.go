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

// Request asks for one file whose digest is known in advance.
type Request struct {
	Name   string   // for progress and errors
	URLs   []string // sources, tried in order
	SHA256 string   // lower-case hex; required
	Size   int64    // bytes; ≤ 0 if unknown
	Once   bool     // make one attempt per source, because the caller can do without the file
	Limit  int64    // limit in bytes for a file of unknown size; 0 means the default
	// Via maps a URL to a transport that adds what its source needs, such as a login. URLs
	// without an entry use the cache's own Transport. A redirect uses the transport of the
	// URL that it came from.
	Via map[string]http.RoundTripper
}

// Get returns the file from the cache. It is downloaded if it is missing or has another
// size. Interrupted downloads are resumed, even those of earlier runs. The error is *Error
// if every source failed.
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
	if f, ok := c.downloaded(r.SHA256, r.Size); ok { // another goroutine or process was faster
		return f, nil
	}
	return c.download(ctx, r, p)
}

// Has reports whether an entry exists, without reading it.
func (c *Cache) Has(kind, key string) bool {
	if checkNames(kind, key) != nil {
		return false
	}
	fi, err := os.Stat(c.path(kind, key))
	return err == nil && fi.Mode().IsRegular()
}

// downloaded returns the cached download if it has the right size; size ≤ 0 accepts any.
func (c *Cache) downloaded(sum string, size int64) (*File, bool) {
	path := c.path(Downloads, sum)
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() || size > 0 && fi.Size() != size {
		return nil, false
	}
	touch(path, fi)
	return &File{Downloads, sum, path, fi.Size(), sum}, true
}

// touch records the use of an entry for Prune, at most once a day to spare the disk.
func touch(path string, fi os.FileInfo) {
	if now := time.Now(); now.Sub(fi.ModTime()) > 24*time.Hour {
		_ = os.Chtimes(path, now, now)
	}
}

// checkFile compares the sha256 of a file with want. The error is *DigestError if it
// differs.
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

// commit syncs a finished temporary file and renames it.
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

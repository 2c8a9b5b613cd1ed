package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/going-mobile/imagebuilder/image/progress"
)

// Request asks for one file whose content is known in advance.
type Request struct {
	Name   string   // what people call it, for progress and errors
	URLs   []string // sources, tried in order
	SHA256 string   // lower-case hex; required
	Size   int64    // bytes; ≤ 0 where unknown
	Verify bool     // hash a cached copy before it is used again
}

// Get returns the path of the file in the cache, downloading it if it is
// absent or damaged. Interrupted downloads are resumed, also those of earlier
// runs. The error is *Error when no source worked.
func (c *Cache) Get(ctx context.Context, r Request, p progress.Reporter) (string, error) {
	if err := checkDigest(r.SHA256); err != nil {
		return "", fmt.Errorf("fetch %s: %w", r.Name, err)
	}
	path := c.path(Downloads, r.SHA256)
	if usable(path, r) {
		return path, nil
	}
	unlock, err := c.lock(ctx, Downloads, r.SHA256)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", r.Name, err)
	}
	defer unlock()
	if usable(path, r) { // someone else was faster
		return path, nil
	}
	if err := c.download(ctx, r, path, p); err != nil {
		return "", err
	}
	return path, nil
}

// Has tells whether an entry is there, without looking inside.
func (c *Cache) Has(kind, key string) bool {
	if checkNames(kind, key) != nil {
		return false
	}
	fi, err := os.Stat(c.path(kind, key))
	return err == nil && fi.Mode().IsRegular()
}

// usable tells whether the cached copy can serve r.
func usable(path string, r Request) bool {
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	if r.Size > 0 && fi.Size() != r.Size {
		return false
	}
	if r.Verify && checkFile(path, r.SHA256) != nil {
		return false
	}
	touch(path, fi)
	return true
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
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

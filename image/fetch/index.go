package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cavaliergopher/grab/v3"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// IndexRequest asks for a file that changes under its URL: a signed index, a
// list of digests. What vouches for its content (a signature, TLS) is the
// caller's to check.
type IndexRequest struct {
	Name   string        // what people call it
	URLs   []string      // sources, tried in order
	Limit  int64         // bytes; a longer file is refused; 0 means 64 MiB
	MaxAge time.Duration // a copy confirmed this recently is used unasked
}

// Index is what a source served.
type Index struct {
	Path   string // in the cache
	URL    string // the source that served it
	SHA256 string
	Size   int64
}

// indexMeta is stored per URL.
type indexMeta struct {
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
	SHA256       string `json:"sha256"`
	Size         int64  `json:"size"`
}

// GetIndex returns the current content of a mutable file, asking the server
// only whether it changed when a copy is in the cache.
func (c *Cache) GetIndex(ctx context.Context, r IndexRequest, p progress.Reporter) (Index, error) {
	failed := &Error{Name: r.Name}
	for _, u := range r.URLs {
		ix, err := c.indexFrom(ctx, u, r, p)
		if err == nil {
			return ix, nil
		}
		if ctx.Err() != nil {
			return Index{}, fmt.Errorf("fetch %s: %w", r.Name, context.Cause(ctx))
		}
		failed.Attempts = append(failed.Attempts, Attempt{redact(u), reason(err)})
		if judge(err) == abort {
			break
		}
	}
	if len(r.URLs) == 0 {
		return Index{}, fmt.Errorf("fetch %s: no source is known", r.Name)
	}
	return Index{}, failed
}

func (c *Cache) indexFrom(ctx context.Context, u string, r IndexRequest, p progress.Reporter) (ix Index, err error) {
	sum := sha256.Sum256([]byte(u))
	key := hex.EncodeToString(sum[:])
	unlock, err := c.lock(ctx, indexDir, key)
	if err != nil {
		return Index{}, err
	}
	defer unlock()
	metaPath := filepath.Join(c.dir, indexDir, key+".json")
	old, age := c.readMeta(metaPath, u)
	if old.SHA256 != "" && age < r.MaxAge {
		return c.index(u, old), nil
	}
	task := p.Start("fetch", r.Name, -1)
	defer func() { task.Done(err) }()
	meta, err := c.retryIndex(ctx, u, c.tmp(indexDir, key), old, r, task)
	if err != nil {
		return Index{}, err
	}
	b, err := json.Marshal(meta)
	if err != nil {
		return Index{}, err
	}
	return c.index(u, meta), atomicfile.WriteFile(metaPath, b, 0o644)
}

func (c *Cache) index(u string, m indexMeta) Index {
	return Index{Path: c.path(Downloads, m.SHA256), URL: u, SHA256: m.SHA256, Size: m.Size}
}

// readMeta returns what is known of u, and nothing if the copy is damaged.
// The age is the time since a server confirmed it.
func (c *Cache) readMeta(path, u string) (m indexMeta, age time.Duration) {
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &m) != nil || m.URL != u || checkDigest(m.SHA256) != nil {
		return indexMeta{}, 0
	}
	if !usable(c.path(Downloads, m.SHA256), Request{SHA256: m.SHA256, Size: m.Size, Verify: true}) {
		return indexMeta{}, 0
	}
	fi, err := os.Stat(path)
	if err != nil {
		return indexMeta{}, 0
	}
	// A clock that was set back must not make a copy fresh for ever.
	if age = time.Since(fi.ModTime()); age < 0 {
		age = 1<<63 - 1
	}
	return m, age
}

func (c *Cache) retryIndex(ctx context.Context, u, tmp string, old indexMeta, r IndexRequest, task progress.Task) (indexMeta, error) {
	defer os.Remove(tmp)
	for n := 0; ; n++ {
		d := &doer{client: c.http, meter: &meter{task: task}, stall: c.retry.stall}
		m, err := c.transferIndex(ctx, d, u, tmp, old, r)
		c.hosts.record(u, err)
		if err == nil {
			return m, nil
		}
		if v := judge(err); v == abort || v == next || n+1 >= c.hosts.attempts(u, c.retry.attempts) {
			return indexMeta{}, err
		}
		if err := sleep(ctx, c.retry.wait(n, d.after)); err != nil {
			return indexMeta{}, err
		}
	}
}

func (c *Cache) transferIndex(ctx context.Context, d *doer, u, tmp string, old indexMeta, r IndexRequest) (indexMeta, error) {
	resp, err := conditional(ctx, d, u, old)
	if err != nil {
		return indexMeta{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && old.SHA256 != "" {
		return old, nil
	}
	if resp.StatusCode != http.StatusOK {
		return indexMeta{}, grab.StatusCodeError(resp.StatusCode)
	}
	m := indexMeta{URL: u, ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	m.SHA256, m.Size, err = writeTmp(tmp, func(w io.Writer) error { return copyLimited(w, resp, r.Limit) })
	if err != nil {
		return indexMeta{}, err
	}
	return m, commit(tmp, c.path(Downloads, m.SHA256))
}

func conditional(ctx context.Context, d *doer, u string, old indexMeta) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, errPermanent{err}
	}
	req.Header.Set("User-Agent", userAgent)
	// Caches between us and the server must not answer from memory.
	req.Header.Set("Cache-Control", "max-age=0")
	if old.ETag != "" {
		req.Header.Set("If-None-Match", old.ETag)
	}
	if old.LastModified != "" {
		req.Header.Set("If-Modified-Since", old.LastModified)
	}
	return d.Do(req)
}

func copyLimited(w io.Writer, resp *http.Response, limit int64) error {
	if limit <= 0 {
		limit = 64 << 20
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return err
	case n > limit:
		return errPermanent{fmt.Errorf("longer than %d bytes", limit)}
	case resp.ContentLength >= 0 && n != resp.ContentLength:
		return io.ErrUnexpectedEOF
	}
	return nil
}

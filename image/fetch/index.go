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

	"github.com/cavaliergopher/grab/v3"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// IndexRequest asks for a file whose content changes: a signed index, a list of digests.
// The caller must check what vouches for the content (a signature, TLS).
type IndexRequest struct {
	Name  string // for progress and errors
	URL   string
	Limit int64             // bytes; a longer file is refused
	Via   http.RoundTripper // transport that adds what the source needs; nil for the default
}

// indexMeta is stored per URL.
type indexMeta struct {
	URL          string `json:"url"` // without its password: other users, and backups, may read this file
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
	SHA256       string `json:"sha256"`
	Size         int64  `json:"size"`
}

// GetIndex returns the current content of a mutable file. If the cache has a copy, the
// server is asked only whether the file has changed.
func (c *Cache) GetIndex(ctx context.Context, r IndexRequest, p progress.Reporter) (*File, error) {
	f, err := c.index(ctx, r, p)
	switch {
	case err == nil:
		return f, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("fetch %s: %w", r.Name, context.Cause(ctx))
	}
	return nil, &Error{Name: r.Name, Attempts: []Attempt{{Redact(r.URL), reason(err)}}}
}

func (c *Cache) index(ctx context.Context, r IndexRequest, p progress.Reporter) (f *File, err error) {
	sum := sha256.Sum256([]byte(r.URL))
	key := hex.EncodeToString(sum[:])
	unlock, err := c.lock(ctx, indexDir, key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	task := p.Start("fetch", r.Name, -1)
	defer func() { task.Done(err) }()
	metaPath := filepath.Join(c.dir, indexDir, key+".json")
	m, err := c.retryIndex(ctx, r, c.tmp(indexDir, key), c.readMeta(metaPath, r.URL), task)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	f = &File{Downloads, m.SHA256, c.path(Downloads, m.SHA256), m.Size, m.SHA256}
	return f, atomicfile.WriteFile(metaPath, b, 0o644)
}

// readMeta returns what is known of a URL, or the zero value if the cached copy is damaged.
func (c *Cache) readMeta(path, u string) indexMeta {
	var m indexMeta
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &m) != nil || m.URL != Redact(u) || checkDigest(m.SHA256) != nil {
		return indexMeta{}
	}
	if f, ok := c.downloaded(m.SHA256, m.Size); !ok || f.Verify() != nil {
		return indexMeta{}
	}
	return m
}

func (c *Cache) retryIndex(ctx context.Context, r IndexRequest, tmp string, old indexMeta, task progress.Task) (indexMeta, error) {
	defer os.Remove(tmp)
	for n := 0; ; n++ {
		d := c.doer(r.URL, r.Limit, &meter{task: task}).via(r.Via)
		m, err := c.transferIndex(ctx, d, r, tmp, old)
		c.hosts.record(r.URL, err)
		if err == nil {
			return m, nil
		}
		if v := judge(err); v == abort || v == next || n+1 >= c.hosts.attempts(r.URL, c.retry.attempts) {
			return indexMeta{}, err
		}
		if err := ctxio.Sleep(ctx, c.retry.wait(n, d.after)); err != nil {
			return indexMeta{}, err
		}
	}
}

func (c *Cache) transferIndex(ctx context.Context, d *doer, r IndexRequest, tmp string, old indexMeta) (indexMeta, error) {
	resp, err := conditional(ctx, d, r.URL, old)
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
	m := indexMeta{URL: Redact(r.URL), ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	m.SHA256, m.Size, err = writeTmp(tmp, func(w io.Writer) error {
		_, err := io.Copy(w, resp.Body)
		return err
	})
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
	// Caching proxies on the way must not answer without asking the server.
	req.Header.Set("Cache-Control", "max-age=0")
	if old.ETag != "" {
		req.Header.Set("If-None-Match", old.ETag)
	}
	if old.LastModified != "" {
		req.Header.Set("If-Modified-Since", old.LastModified)
	}
	return d.Do(req)
}

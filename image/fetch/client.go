package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/transfer"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// newClient returns an HTTP client with one connection pool for everything. The proxy comes
// from the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
func newClient() *http.Client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConnsPerHost:   16,
		ForceAttemptHTTP2:     true,
		// The digest of Packages.gz is that of the compressed file.
		DisableCompression: true,
		ReadBufferSize:     64 << 10,
	}
	// Allows a mirror on a local disk: file:///srv/debian.
	t.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}
}

// checkRedirect marks a refused redirect as permanent: another attempt would be redirected
// alike.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if err := transfer.CheckRedirect(req, via); err != nil {
		return errPermanent{err}
	}
	return nil
}

// Transport returns the connection pool that downloads share.
func (c *Cache) Transport() http.RoundTripper { return c.http.Transport }

const userAgent = "imagebuilder"

// ErrSlow means that a source was abandoned because others may be faster. If the same
// source is tried again, it gets all the time that it needs.
var ErrSlow = errors.New("too slow")

// doer performs the HTTP requests of one transfer. It counts bytes, ends stalled
// connections, abandons slow ones, ends endless ones, and refuses a response with another
// range than requested. It is the HTTP client that grab uses.
type doer struct {
	client  *http.Client
	meter   *meter
	policy  retryPolicy
	size    int64         // of the file; ≤ 0 if unknown
	patient bool          // do not abandon the source for being slow
	after   time.Duration // the last Retry-After
}

func (c *Cache) doer(u string, size int64, m *meter) *doer {
	if size <= 0 {
		size = c.retry.unknown
	}
	return &doer{client: c.http, meter: m, policy: c.retry, size: size, patient: c.hosts.isSlow(u)}
}

// via sends requests through t unless it is nil.
func (d *doer) via(t http.RoundTripper) *doer {
	if t != nil {
		d.client = &http.Client{Transport: t, CheckRedirect: checkRedirect}
	}
	return d
}

func (d *doer) Do(req *http.Request) (*http.Response, error) {
	parent := req.Context()
	ctx, cancel := context.WithCancelCause(parent)
	resp, err := d.client.Do(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	d.after = retryAfter(resp)
	if err := d.position(req, resp); err != nil {
		resp.Body.Close()
		cancel(nil)
		return nil, err
	}
	transfer.Limit(resp, d.size)
	b := &body{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, doer: d}
	b.timer = time.AfterFunc(d.policy.stall, func() { cancel(fmt.Errorf("no data for %v", d.policy.stall)) })
	resp.Body = b
	// grab reads the final URL from resp.Request; the replaced context does not matter.
	return resp, nil
}

// errRange means that resuming failed: the partial file is useless.
var errRange = errors.New("server does not resume")

// position tells the meter at which offset the body begins. grab appends whatever arrives,
// so a response that ignores the range must not reach it.
func (d *doer) position(req *http.Request, resp *http.Response) error {
	asked := strings.TrimPrefix(req.Header.Get("Range"), "bytes=")
	switch {
	case req.Method == http.MethodHead || resp.StatusCode >= 400:
		return nil
	case asked == "":
		d.meter.at(0)
		return nil
	}
	var from int64
	got := resp.Header.Get("Content-Range")
	if resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(got, "bytes "+asked) {
		return errRange
	}
	if _, err := fmt.Sscanf(asked, "%d-", &from); err != nil {
		return errRange
	}
	d.meter.at(from)
	return nil
}

// body is a response body with a timeout for silence and a minimum rate.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	doer   *doer

	// Time waited for the source, and bytes received, in the current window.
	waited time.Duration
	got    int64
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.doer.policy.stall)
	start := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.doer.meter.add(int64(n))
	switch slow := b.slow(time.Since(start), n); {
	case err == nil:
		err = slow
	case err != io.EOF && b.ctx.Err() != nil:
		err = context.Cause(b.ctx)
	}
	return n, err
}

// slow checks the source's rate at the end of each window. Only the time spent waiting for
// the source counts, not that of our own disk.
func (b *body) slow(d time.Duration, n int) error {
	b.waited, b.got = b.waited+d, b.got+int64(n)
	policy := b.doer.policy
	if b.doer.patient || b.waited < policy.window {
		return nil
	}
	if float64(b.got) < float64(policy.rate)*b.waited.Seconds() {
		return fmt.Errorf("%w: slower than %d bytes a second over %v", ErrSlow, policy.rate, policy.window)
	}
	b.waited, b.got = 0, 0
	return nil
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// meter turns positions in a file into progress that only grows, even if a transfer starts
// again.
type meter struct {
	mu       sync.Mutex
	task     progress.Task
	pos, top int64
}

func (m *meter) at(pos int64) {
	m.mu.Lock()
	m.pos = pos
	m.report()
	m.mu.Unlock()
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	m.pos += n
	m.report()
	m.mu.Unlock()
}

func (m *meter) report() {
	if m.pos > m.top {
		m.task.Add(m.pos - m.top)
		m.top = m.pos
	}
}

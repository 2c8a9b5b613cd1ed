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

// newClient is one connection pool for everything. The proxy comes from the
// environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
func newClient() *http.Client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConnsPerHost:   16,
		ForceAttemptHTTP2:     true,
		// Packages.gz must arrive as it was signed.
		DisableCompression: true,
		ReadBufferSize:     64 << 10,
	}
	// A mirror on a local disk: file:///srv/debian.
	t.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}
}

// checkRedirect tells that another attempt would be sent the same way.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if err := transfer.CheckRedirect(req, via); err != nil {
		return errPermanent{err}
	}
	return nil
}

const userAgent = "imagebuilder"

// stallTime is how long a body may stay silent before the connection counts
// as dead.
const stallTime = 30 * time.Second

var errStalled = fmt.Errorf("no data for %v", stallTime)

// doer performs the HTTP requests of one transfer: it counts bytes, breaks
// stalled connections and refuses answers to another range than asked for.
// It is grab's view of the network.
type doer struct {
	client *http.Client
	meter  *meter
	stall  time.Duration
	after  time.Duration // the last Retry-After
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
	b := &body{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, meter: d.meter, stall: d.stall}
	b.timer = time.AfterFunc(d.stall, func() { cancel(errStalled) })
	resp.Body = b
	// grab reads the final URL from here, whatever its context.
	return resp, nil
}

// errRange tells that a resume did not work out: the partial file is useless.
var errRange = errors.New("server does not resume")

// position tells the meter where the body begins. grab appends whatever
// arrives, so an answer that ignores the range must not reach it.
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

// body is a response body with a watchdog.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	meter  *meter
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.stall)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.meter.add(int64(n))
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// meter turns positions in a file into progress that only grows, however
// often a transfer starts again.
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

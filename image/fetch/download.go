package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cavaliergopher/grab/v3"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/firstboot/transfer"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// download downloads the cache entry of r. The caller holds the entry's lock.
func (c *Cache) download(ctx context.Context, r Request, p progress.Reporter) (f *File, err error) {
	if len(r.URLs) == 0 {
		return nil, fmt.Errorf("fetch %s: not in the cache, and no source is known", r.Name)
	}
	task := p.Start("fetch", r.Name, max(r.Size, -1))
	defer func() { task.Done(err) }()
	m := &meter{task: task}
	failed := &Error{Name: r.Name}
	for queue := c.hosts.order(r.URLs); len(queue) > 0; queue = queue[1:] {
		u := queue[0]
		err := c.fromSource(ctx, u, r, m)
		if err == nil {
			return c.finish(r)
		}
		failed.Attempts = append(failed.Attempts, Attempt{Redact(u), reason(err)})
		if ctx.Err() != nil {
			return nil, fmt.Errorf("fetch %s: %w", r.Name, context.Cause(ctx))
		}
		if judge(err) == abort { // the fault is not the source's, so do not blame it and try the next
			return nil, fmt.Errorf("fetch %s: %w", r.Name, err)
		}
		if errors.Is(err, ErrSlow) { // a slow source is better than none
			queue = append(queue, u)
		}
	}
	return nil, failed
}

func (c *Cache) finish(r Request) (*File, error) {
	if err := commit(c.tmp(Downloads, r.SHA256), c.path(Downloads, r.SHA256)); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", r.Name, err)
	}
	f, ok := c.downloaded(r.SHA256, r.Size)
	if !ok {
		return nil, fmt.Errorf("fetch %s: the right digest, but not of the %d bytes that were announced", r.Name, r.Size)
	}
	return f, nil
}

// fromSource downloads the content of r from u to the temporary file and verifies it, or
// returns the last error of this source.
func (c *Cache) fromSource(ctx context.Context, u string, r Request, m *meter) error {
	tmp := c.tmp(Downloads, r.SHA256)
	remade := false
	way := headway{sizeOf(tmp), time.Now()}
	for n := 0; ; n++ {
		after, err := c.transfer(ctx, u, tmp, r, m)
		c.hosts.record(u, err)
		if err == nil {
			return nil
		}
		switch judge(err) {
		case abort, next:
			return err
		case remake:
			os.Remove(tmp)
			if remade {
				return err
			}
			remade, way = true, headway{0, time.Now()}
		}
		if way.made(sizeOf(tmp), c.retry.rate) {
			n = 0 // a line that breaks often is no reason to give up what it brings
		}
		if r.Once || n+1 >= c.hosts.attempts(u, c.retry.attempts) {
			return err
		}
		if err := ctxio.Sleep(ctx, c.retry.wait(n, after)); err != nil {
			return err
		}
	}
}

// headway is how far a partial file had come, and when.
type headway struct {
	size int64
	at   time.Time
}

// made reports whether the file, now of this size, has grown since, and at least at the
// given rate: a source that sends little before each interruption does not last for ever.
func (h *headway) made(size, rate int64) bool {
	grown := size - h.size
	if grown <= 0 || float64(grown) < float64(rate)*time.Since(h.at).Seconds() {
		return false
	}
	*h = headway{size, time.Now()}
	return true
}

// sizeOf returns the size of a file, or 0 if there is none.
func sizeOf(name string) int64 {
	fi, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// transfer makes one attempt; it continues the temporary file if there is one.
func (c *Cache) transfer(ctx context.Context, u, tmp string, r Request, m *meter) (retry time.Duration, err error) {
	// grab would keep a local file that is longer than the remote one, and fail every time
	// with "bad content length".
	if r.Size > 0 && sizeOf(tmp) > r.Size {
		os.Remove(tmp)
	}
	req, err := grab.NewRequest(tmp, u)
	if err != nil {
		return 0, errPermanent{err}
	}
	req = req.WithContext(ctx)
	req.Size = max(r.Size, 0)
	req.IgnoreRemoteTime = true
	req.NoCreateDirectories = true
	d := c.doer(u, cmp.Or(max(r.Size, 0), r.Limit), m).via(r.Via[u])
	client := &grab.Client{HTTPClient: d, UserAgent: userAgent, BufferSize: 256 << 10}
	if err := client.Do(req).Err(); err != nil {
		if errors.Is(err, transfer.ErrTooLong) {
			os.Remove(tmp)
		}
		if errors.Is(err, grab.ErrBadLength) {
			err = fmt.Errorf("not the expected %d bytes: %w", r.Size, err)
		}
		return d.after, err
	}
	return 0, checkFile(tmp, r.SHA256)
}

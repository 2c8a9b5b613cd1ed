// Package ctxio stops a long read, or a wait, when its context ends. A read is that of a medium
// or a connection that takes its time for each piece; a single Read that is under way cannot be
// stopped.
package ctxio

import (
	"context"
	"io"
	"time"
)

// Sleep waits for d. It returns the cause of ctx's end as soon as ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return context.Cause(ctx)
}

// Reader returns a reader from r. Once ctx has ended, it returns the error of ctx.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (u reader) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}

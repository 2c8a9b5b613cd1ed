// Package ctxio stops a long read when its context ends, for a medium or a connection that takes
// its time for each piece. It cannot stop a single Read that is under way.
package ctxio

import (
	"context"
	"io"
)

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

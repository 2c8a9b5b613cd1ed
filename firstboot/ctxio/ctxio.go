// Package ctxio lets a long read end with its context, where the medium or the line takes
// its time for each piece. It cannot end a read that is under way.
package ctxio

import (
	"context"
	"io"
)

// Reader reads from r until ctx ends, whose error it returns from then on.
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

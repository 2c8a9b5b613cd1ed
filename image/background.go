package image

import "context"

// background is work that goes on while a build does something else: a component may have to
// be compiled, and container images are large.
type background[T any] struct {
	cancel context.CancelFunc
	done   chan struct{}
	result []T
	err    error
}

func begin[T any](ctx context.Context, work func(context.Context) ([]T, error)) *background[T] {
	ctx, cancel := context.WithCancel(ctx)
	b := &background[T]{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.result, b.err = work(ctx)
	}()
	return b
}

// over tells whether the work is done.
func (b *background[T]) over() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// wait blocks until the work is done, and returns its result.
func (b *background[T]) wait() ([]T, error) {
	<-b.done
	return b.result, b.err
}

// close cancels work whose result is no longer needed, and waits until it has stopped.
func (b *background[T]) close() {
	b.cancel()
	<-b.done
}

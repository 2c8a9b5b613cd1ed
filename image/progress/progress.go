// Package progress is how libraries tell of long work without knowing who
// listens: bars on a terminal, plain lines in a log, nothing in a test.
package progress

import "io"

// Reporter receives tasks as they begin. It is safe for concurrent use.
type Reporter interface {
	// Start announces a task of a stage ("fetch", "decode", "pack"). total is
	// its length in bytes, or -1 where nobody knows.
	Start(stage, name string, total int64) Task
}

// Task is one piece of work in progress. Add and Done are safe for concurrent
// use; Done is called exactly once.
type Task interface {
	// Add reports n more bytes of work.
	Add(n int64)
	// Done ends the task, with the error that ended it if there was one.
	Done(err error)
}

// Discard reports to nobody.
var Discard Reporter = discard{}

type discard struct{}

func (discard) Start(string, string, int64) Task { return discard{} }
func (discard) Add(int64)                        {}
func (discard) Done(error)                       {}

// Reader returns r with every byte read from it added to t.
func Reader(r io.Reader, t Task) io.Reader { return &reader{r, t} }

type reader struct {
	r io.Reader
	t Task
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.t.Add(int64(n))
	return n, err
}

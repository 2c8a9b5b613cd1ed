package control

import "bytes"

// MaxAnswer bounds what is kept of what a machine says, in bytes.
const MaxAnswer = 64 << 10

// Answer keeps the first MaxAnswer bytes that are written to it: a machine may be
// in other hands. It shows nothing of its buffer, whose ReadFrom io.Copy would
// prefer.
type Answer struct{ kept bytes.Buffer }

func (a *Answer) Write(b []byte) (int, error) {
	a.kept.Write(b[:min(len(b), MaxAnswer-a.kept.Len())])
	return len(b), nil
}

// Bytes are what was kept.
func (a *Answer) Bytes() []byte { return a.kept.Bytes() }

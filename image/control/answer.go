package control

import "bytes"

// MaxAnswer bounds how much of a machine's output is kept, in bytes.
const MaxAnswer = 64 << 10

// Answer keeps the first MaxAnswer bytes that are written to it, as a machine may be in the
// wrong hands. The buffer is not embedded: io.Copy would use its ReadFrom, which has no
// limit.
type Answer struct{ kept bytes.Buffer }

func (a *Answer) Write(b []byte) (int, error) {
	a.kept.Write(b[:min(len(b), MaxAnswer-a.kept.Len())])
	return len(b), nil
}

// Bytes are what was kept.
func (a *Answer) Bytes() []byte { return a.kept.Bytes() }

package vps

import "bytes"

// MaxOutput bounds how much of a machine's output is kept, in bytes.
const MaxOutput = 64 << 10

// Output keeps the first MaxOutput bytes that are written to it, as a machine may be in the
// wrong hands. The buffer is not embedded: io.Copy would use its ReadFrom, which has no
// limit.
type Output struct{ kept bytes.Buffer }

func (o *Output) Write(b []byte) (int, error) {
	o.kept.Write(b[:min(len(b), MaxOutput-o.kept.Len())])
	return len(b), nil
}

// Bytes are what was kept.
func (o *Output) Bytes() []byte { return o.kept.Bytes() }

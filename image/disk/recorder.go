package disk

import (
	"cmp"
	"io"
	"slices"
	"sync"
)

// Extent is a run of bytes of a disk.
type Extent struct{ Offset, Length int64 }

// Recorder passes writes on and records their extents, which are exactly what a block map
// must contain. It is safe for concurrent use.
type Recorder struct {
	w  io.WriterAt
	mu sync.Mutex
	// ext is in order of arrival; a write that continues the last extent enlarges it.
	ext []Extent
}

// NewRecorder returns a Recorder in front of w.
func NewRecorder(w io.WriterAt) *Recorder { return &Recorder{w: w} }

// WriteAt implements io.WriterAt.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	n, err := r.w.WriteAt(p, off)
	r.mark(Extent{off, int64(n)})
	return n, err
}

func (r *Recorder) mark(e Extent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.ext); n > 0 && r.ext[n-1].Offset+r.ext[n-1].Length == e.Offset {
		r.ext[n-1].Length += e.Length
		return
	}
	r.ext = append(r.ext, e)
	if len(r.ext) > 1<<16 {
		r.ext = merge(r.ext)
	}
}

// Extents returns what was written, sorted; extents that overlap or touch are merged.
func (r *Recorder) Extents() []Extent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return merge(r.ext)
}

func merge(ext []Extent) []Extent {
	sorted := slices.SortedFunc(slices.Values(ext), func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	var out []Extent
	for _, e := range sorted {
		n := len(out)
		switch {
		case e.Length == 0:
		case n > 0 && e.Offset <= out[n-1].Offset+out[n-1].Length:
			out[n-1].Length = max(out[n-1].Length, e.Offset+e.Length-out[n-1].Offset)
		default:
			out = append(out, e)
		}
	}
	return out
}

// Paste copies the part of data that belongs there into b, a block at offset off of a disk.
// data is stored on the disk at the extents at, in order.
func Paste(b []byte, off int64, at []Extent, data []byte) {
	for _, e := range at {
		from, to := max(e.Offset, off), min(e.Offset+e.Length, off+int64(len(b)))
		if from < to {
			copy(b[from-off:to-off], data[from-e.Offset:])
		}
		data = data[e.Length:]
	}
}

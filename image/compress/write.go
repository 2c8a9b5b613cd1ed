package compress

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/qcow2"
)

// chunkSize is how many bytes one CPU compresses at a time. Smaller chunks compress worse;
// larger ones take more memory, as each CPU holds a chunk twice.
const chunkSize = 8 << 20

// Write writes size bytes of r to w in format f.
func Write(ctx context.Context, w io.Writer, f Format, r io.ReaderAt, size int64, p progress.Reporter) (err error) {
	if f == QCOW2 {
		return qcow2.Write(w, r, size)
	}
	workers := min(runtime.GOMAXPROCS(0), 8)
	encode, err := encoder(f, workers)
	if err != nil {
		return err
	}
	task := p.Start("compress", string(f), size)
	defer func() { task.Done(err) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for c := range chunks(ctx, r, size, workers, encode) {
		var d chunk
		select {
		case d = <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
		if d.err != nil {
			return d.err
		}
		if _, err := w.Write(d.data); err != nil {
			return err
		}
		task.Add(d.raw)
	}
	return ctx.Err()
}

// chunk is a compressed piece of raw bytes.
type chunk struct {
	data []byte
	raw  int64
	err  error
}

// chunks starts compressing chunks, at most workers at a time, and delivers them in order.
// It stops when ctx ends.
func chunks(ctx context.Context, r io.ReaderAt, size int64, workers int, encode encodeFunc) <-chan chan chunk {
	// The consumer holds one chunk, the channel the others.
	order := make(chan chan chunk, workers-1)
	go func() {
		defer close(order)
		for off := int64(0); off == 0 || off < size; off += chunkSize {
			c := make(chan chunk, 1)
			select {
			case order <- c:
			case <-ctx.Done():
				return
			}
			go func() { c <- compressChunk(r, off, min(chunkSize, size-off), encode) }()
		}
	}()
	return order
}

func compressChunk(r io.ReaderAt, off, n int64, encode encodeFunc) chunk {
	raw := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, off, n), raw); err != nil {
		return chunk{err: fmt.Errorf("read image at %d: %w", off, err)}
	}
	data, err := encode(raw)
	return chunk{data, n, err}
}

// encodeFunc compresses one chunk. It is called concurrently.
type encodeFunc func(raw []byte) ([]byte, error)

// encoder returns a format's encoder. Higher levels hardly make these images smaller: most
// of their content is already compressed.
func encoder(f Format, workers int) (encodeFunc, error) {
	switch f {
	case Zstd:
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(workers),
			zstd.WithWindowSize(chunkSize), zstd.WithZeroFrames(true))
		if err != nil {
			return nil, err
		}
		return func(raw []byte) ([]byte, error) { return e.EncodeAll(raw, nil), nil }, nil
	case XZ:
		return xzEncoder(workers)
	case Gzip:
		return stream(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, 6) }), nil
	}
	return nil, fmt.Errorf("unknown compression %q", string(f))
}

// stream turns a compressing writer into an encodeFunc.
func stream(open func(io.Writer) (io.WriteCloser, error)) encodeFunc {
	return func(raw []byte) ([]byte, error) {
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(raw); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	}
}

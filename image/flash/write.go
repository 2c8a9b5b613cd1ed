package flash

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// blockSize is how many bytes are read and written at once: the erase unit of common cards.
const blockSize = 4 << 20

// writer writes one image to one target.
type writer struct {
	target *target
	image  *verify.Report
	opt    Options
	yaml   []byte // the node's, padded; nil keeps the image's

	seed   maphash.Seed
	middle []piece
	ends   []piece  // the first and the last span, which hold partition tables
	held   [][]byte // the data of ends
	size   int64
	probes []probe

	readTime time.Duration // how long reading back took
}

// piece is a run of written bytes with its hash.
type piece struct {
	off, n int64
	sum    uint64
}

func (w *writer) run(ctx context.Context, src io.Reader) error {
	w.seed = maphash.MakeSeed()
	if err := w.target.wipe(); err != nil {
		return fmt.Errorf("erase what was there: %w", err)
	}
	if err := w.probe(); err != nil {
		return err
	}
	if err := w.copy(ctx, src); err != nil {
		return err
	}
	if err := cmp.Or(w.target.end(w.size), w.target.m.Sync()); err != nil {
		return err
	}
	if err := w.checkProbes(); err != nil {
		return err
	}
	if err := w.verify(ctx, w.middle); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return err
	}
	return w.verify(ctx, w.ends)
}

// isEnd reports whether the span holds a partition table.
func (w *writer) isEnd(s span) bool {
	return s.off == 0 || s.off+s.n == w.image.Size
}

// copy writes everything except both ends.
func (w *writer) copy(ctx context.Context, src io.Reader) (err error) {
	task := w.opt.progress().Start("write", w.target.name, w.mapped())
	defer func() { task.Done(err) }()
	ctx, cancel := context.WithCancel(ctx)
	sha := sha256.New()
	blocks := readBlocks(ctx, src, sha)
	defer func() { // when copy returns, src must no longer be in use
		cancel()
		for range blocks {
		}
	}()
	for b := range blocks {
		if err := errors.Join(ctx.Err(), b.err); err != nil {
			return fmt.Errorf("read the image: %w", err)
		}
		if err := w.block(b.data, task); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.size != w.image.Size || hex.EncodeToString(sha.Sum(nil)) != w.image.SHA256 {
		return errors.New("the image changed while it was written")
	}
	return nil
}

// block writes one block of the image, with the node's file pasted over it.
func (w *writer) block(b []byte, task progress.Task) error {
	off := w.size
	w.size += int64(len(b))
	if w.yaml != nil {
		disk.Paste(b, off, w.image.NodeFile, w.yaml)
	}
	for _, s := range w.spans(off, int64(len(b))) {
		part := b[s.off-off:][:s.n]
		// Write an unmapped span all the same if it is not zeros. Nothing is done to holes:
		// discarding them would take a slow device as long as writing them.
		if !s.mapped && isZero(part) {
			continue
		}
		if err := w.part(part, s.off, w.isEnd(s)); err != nil {
			return err
		}
		task.Add(s.n)
	}
	return nil
}

// part writes data, or keeps that of an end until the rest is on the medium.
func (w *writer) part(b []byte, off int64, end bool) error {
	if end {
		w.ends = append(w.ends, w.piece(off, b))
		w.held = append(w.held, bytes.Clone(b))
		return nil
	}
	w.middle = append(w.middle, w.piece(off, b))
	return w.target.put(b, off)
}

func (w *writer) piece(off int64, b []byte) piece {
	return piece{off, int64(len(b)), maphash.Bytes(w.seed, b)}
}

// span is a run of bytes that is wholly inside or wholly outside the block map.
type span struct {
	off, n int64
	mapped bool
}

// spans splits n bytes at off where mapped ranges begin and end. Without a map, all is
// mapped.
func (w *writer) spans(off, n int64) (out []span) {
	if w.image.Mapped == nil {
		return []span{{off, n, true}}
	}
	end := off + n
	for _, e := range w.image.Mapped {
		from, to := max(e.Offset, off), min(e.Offset+e.Length, end)
		if from >= to {
			continue
		}
		if from > off {
			out = append(out, span{off, from - off, false})
		}
		out = append(out, span{from, to - from, true})
		off = to
	}
	if off < end {
		out = append(out, span{off, end - off, false})
	}
	return out
}

// mapped returns how many bytes the map says will be written.
func (w *writer) mapped() (n int64) {
	for off := int64(0); off < w.image.Size; off += blockSize {
		block := min(blockSize, w.image.Size-off)
		for _, s := range w.spans(off, block) {
			if s.mapped {
				n += s.n
			}
		}
	}
	return n
}

// finish writes the ends, which turn the data into a disk: first the copy of the partition
// table, then the table itself, each once everything before is durable.
func (w *writer) finish() error {
	for i, p := range slices.Backward(w.ends) {
		if err := w.target.put(w.held[i], p.off); err != nil {
			return err
		}
		if err := w.target.m.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// block is a block of the source, or the error that ended reading.
type block struct {
	data []byte
	err  error
}

// readBlocks reads and hashes ahead of the writer. A block's data is valid until the next
// block is received: of the three buffers, one is the writer's, one waits in the channel,
// and one is being filled.
func readBlocks(ctx context.Context, r io.Reader, h hash.Hash) <-chan block {
	out := make(chan block, 1)
	go func() {
		defer close(out)
		var bufs [3][]byte
		for i := 0; ; i = (i + 1) % len(bufs) {
			if bufs[i] == nil {
				bufs[i] = alignedBuffer(blockSize)
			}
			n, err := io.ReadFull(r, bufs[i])
			h.Write(bufs[i][:n])
			last := err == io.EOF || err == io.ErrUnexpectedEOF
			if last {
				err = nil
			}
			if n == 0 && last {
				return
			}
			select {
			case out <- block{bufs[i][:n], err}:
			case <-ctx.Done():
				return
			}
			if last || err != nil {
				return
			}
		}
	}()
	return out
}

// verify reads back what was written, bypassing caches as far as possible, and stops at the
// first piece that differs.
func (w *writer) verify(ctx context.Context, pieces []piece) (err error) {
	if w.opt.NoVerify || len(pieces) == 0 {
		return nil
	}
	task := w.opt.progress().Start("verify", w.target.name, length(pieces))
	start := time.Now()
	defer func() {
		w.readTime += time.Since(start)
		task.Done(err)
	}()
	w.target.m.drop()
	buf := alignedBuffer(blockSize)
	for _, p := range pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:p.n]
		if _, err := w.target.ReadAt(b, p.off); err != nil {
			return fmt.Errorf("read back at %d: %w", p.off, err)
		}
		if maphash.Bytes(w.seed, b) != p.sum {
			return &verifyError{Offset: p.off}
		}
		task.Add(p.n)
	}
	return nil
}

func length(pieces []piece) (n int64) {
	for _, p := range pieces {
		n += p.n
	}
	return n
}

// verifyError says that a device did not store what was written to it.
type verifyError struct {
	// Offset, in bytes, of the first piece that differs.
	Offset int64
}

func (e *verifyError) Error() string {
	return fmt.Sprintf("the device returns other data than was written (first at byte %d): it is worn out or counterfeit, use another", e.Offset)
}

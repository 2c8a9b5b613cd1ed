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

// blockSize is what is read and written at once, in bytes: the erase unit of
// common cards.
const blockSize = 4 << 20

// writer carries one image to one target.
type writer struct {
	target *target
	image  *verify.Report
	opt    Options
	yaml   []byte // of the node, padded; nil leaves the image's

	seed   maphash.Seed
	middle []piece
	ends   []piece  // the first and the last run, which hold partition tables
	held   [][]byte // what goes there
	size   int64
	probes []probe

	readTime time.Duration // what reading back took
}

// piece is a run of bytes that is written, and what it hashes to.
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

// isEnd reports whether the run holds a partition table.
func (w *writer) isEnd(s span) bool {
	return s.off == 0 || s.off+s.n == w.image.Size
}

// copy writes all but both ends.
func (w *writer) copy(ctx context.Context, src io.Reader) (err error) {
	task := w.opt.progress().Start("write", w.target.name, w.mapped())
	defer func() { task.Done(err) }()
	ctx, cancel := context.WithCancel(ctx)
	sha := sha256.New()
	blocks := readBlocks(ctx, src, sha)
	defer func() { // the source is the caller's again when this returns
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
		// A map that leaves out what is no hole is not believed. Nothing is done
		// to holes: discarding them takes a slow device as long as writing them.
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

// part writes what is not a hole, or holds it until the rest is on the medium.
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

// span is a run of bytes that the block map has, or has not.
type span struct {
	off, n int64
	mapped bool
}

// spans cuts a block where the map begins and ends. Without a map all of it
// matters.
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

// mapped is how much will be written, in bytes.
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

// finish writes the ends, which make the rest a disk: the copy of the table
// first, the table itself last, each when all before it is durable.
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

// block is a piece of the source.
type block struct {
	data []byte
	err  error
}

// readBlocks reads and hashes ahead of the writer. A block's data is good
// until the next one is received: one buffer is the writer's, one waits in the
// channel, one is being filled.
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

// verify reads back what was written, past every cache that can be had out of
// the way, and stops at the first piece that differs.
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
			return &VerifyError{Offset: p.off}
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

// VerifyError says that a device did not keep what was written to it.
type VerifyError struct {
	// Offset in bytes of the first piece that differs.
	Offset int64
}

func (e *VerifyError) Error() string {
	return fmt.Sprintf("the device returns other data than was written (first at byte %d): it is worn out or counterfeit, use another", e.Offset)
}

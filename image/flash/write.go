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

	"github.com/going-mobile/imagebuilder/image/disk"
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

	sums []uint64 // of every block
	seed maphash.Seed
	held [][]byte // the last block and, unless it is the same, the first
	size int64
}

func (w *writer) run(ctx context.Context, src io.Reader) error {
	w.seed = maphash.MakeSeed()
	if err := w.target.wipe(); err != nil {
		return fmt.Errorf("erase what was there: %w", err)
	}
	if err := w.copy(ctx, src); err != nil {
		return err
	}
	if err := cmp.Or(w.target.end(w.size), w.target.m.Sync()); err != nil {
		return err
	}
	var middle, ends []int
	for i := range w.sums {
		if w.isEnd(i) {
			ends = append(ends, i)
		} else {
			middle = append(middle, i)
		}
	}
	if err := w.verify(ctx, middle); err != nil {
		return err
	}
	if err := w.finish(ends); err != nil {
		return err
	}
	return w.verify(ctx, ends)
}

// isEnd reports whether a block holds a partition table.
func (w *writer) isEnd(i int) bool { return i == 0 || int64(i) == (w.image.Size-1)/blockSize }

// copy writes all blocks but both ends.
func (w *writer) copy(ctx context.Context, src io.Reader) (err error) {
	task := w.opt.progress().Start("write", w.target.name, w.image.Size)
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
		if err := w.block(b.data); err != nil {
			return err
		}
		task.Add(int64(len(b.data)))
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
func (w *writer) block(b []byte) error {
	off, i := w.size, len(w.sums)
	w.size += int64(len(b))
	if w.yaml != nil {
		disk.Paste(b, off, w.image.NodeFile, w.yaml)
	}
	w.sums = append(w.sums, maphash.Bytes(w.seed, b))
	if w.isEnd(i) {
		w.held = append(w.held, bytes.Clone(b))
		return nil
	}
	return w.target.put(b, off)
}

// finish writes the ends, which make the rest a disk: the copy of the table
// first, the table itself last, each when all before it is durable.
func (w *writer) finish(ends []int) error {
	for k, i := range slices.Backward(ends) {
		if err := w.target.put(w.held[k], int64(i)*blockSize); err != nil {
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
				bufs[i] = make([]byte, blockSize)
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
// the way, and stops at the first block that differs.
func (w *writer) verify(ctx context.Context, blocks []int) (err error) {
	if w.opt.NoVerify || len(blocks) == 0 {
		return nil
	}
	task := w.opt.progress().Start("verify", w.target.name, w.length(blocks))
	defer func() { task.Done(err) }()
	w.target.m.drop()
	buf := make([]byte, blockSize)
	for _, i := range blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		off := int64(i) * blockSize
		b := buf[:min(blockSize, w.size-off)]
		if _, err := w.target.ReadAt(b, off); err != nil {
			return fmt.Errorf("read back at %d: %w", off, err)
		}
		if maphash.Bytes(w.seed, b) != w.sums[i] {
			return &VerifyError{Offset: off}
		}
		task.Add(int64(len(b)))
	}
	return nil
}

func (w *writer) length(blocks []int) (n int64) {
	for _, i := range blocks {
		n += min(blockSize, w.size-int64(i)*blockSize)
	}
	return n
}

// VerifyError says that a device did not keep what was written to it.
type VerifyError struct {
	// Offset in bytes of the first block that differs.
	Offset int64
}

func (e *VerifyError) Error() string {
	return fmt.Sprintf("the device returns other data than was written (first at byte %d): it is worn out or counterfeit, use another", e.Offset)
}

package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/going-mobile/imagebuilder/image/disk"
)

// blockSize is what is read and written at once, in bytes: the erase unit of
// common cards.
const blockSize = 4 << 20

// writer carries one image to one target.
type writer struct {
	target *target
	src    Source
	opt    Options

	first  []byte   // the block that is written last
	sums   []uint32 // of every block, to find where a device lies
	size   int64
	sha    hash.Hash
	result Result
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (w *writer) run(ctx context.Context) error {
	if err := w.target.wipe(); err != nil {
		return fmt.Errorf("erase what was there: %w", err)
	}
	if err := w.copy(ctx); err != nil {
		return err
	}
	w.result = Result{Size: w.size, SHA256: hex.EncodeToString(w.sha.Sum(nil))}
	if w.src.SHA256 != "" && w.src.SHA256 != w.result.SHA256 {
		return fmt.Errorf("the image is damaged: its sha256 is %s, expected %s", w.result.SHA256, w.src.SHA256)
	}
	if err := w.finish(); err != nil {
		return err
	}
	if w.opt.NoVerify {
		return nil
	}
	w.result.Verified = true
	return w.verify(ctx)
}

// copy writes all blocks but the first.
func (w *writer) copy(ctx context.Context) (err error) {
	task := w.opt.progress().Start("write", w.target.name, w.src.Size)
	defer func() { task.Done(err) }()
	ctx, cancel := context.WithCancel(ctx)
	w.sha = sha256.New()
	blocks := readBlocks(ctx, w.src, w.sha)
	defer func() { // the source is the caller's again when Write returns
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
	return w.checkSize()
}

func (w *writer) checkSize() error {
	switch {
	case w.size == 0:
		return fmt.Errorf("the image is empty")
	case w.src.Size >= 0 && w.size != w.src.Size:
		return fmt.Errorf("the image ends after %d bytes instead of %d", w.size, w.src.Size)
	}
	return nil
}

func (w *writer) block(b []byte) error {
	off := w.size
	if err := w.target.fits(off + int64(len(b))); err != nil {
		return err
	}
	w.size += int64(len(b))
	w.sums = append(w.sums, crc32.Checksum(b, castagnoli))
	if off == 0 {
		w.first = bytes.Clone(b)
		return nil
	}
	return w.target.put(b, off)
}

// finish makes all but the first block durable, then that.
func (w *writer) finish() error {
	if err := w.target.f.Sync(); err != nil {
		return err
	}
	if err := w.target.put(w.first, 0); err != nil {
		return err
	}
	if err := w.target.end(w.size); err != nil {
		return err
	}
	return w.target.f.Sync()
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
func (w *writer) verify(ctx context.Context) (err error) {
	task := w.opt.progress().Start("verify", w.target.name, w.size)
	defer func() { task.Done(err) }()
	dropCache(w.target.f)
	buf, h := make([]byte, blockSize), sha256.New()
	for i, sum := range w.sums {
		if err := ctx.Err(); err != nil {
			return err
		}
		off := int64(i) * blockSize
		b := buf[:min(blockSize, w.size-off)]
		if _, err := w.target.readAt(b, off); err != nil {
			return fmt.Errorf("read back at %d: %w", off, err)
		}
		if crc32.Checksum(b, castagnoli) != sum {
			return &VerifyError{Offset: off}
		}
		h.Write(b)
		task.Add(int64(len(b)))
	}
	if hex.EncodeToString(h.Sum(nil)) != w.result.SHA256 {
		return &VerifyError{} // all CRCs are right, which chance does not make
	}
	return nil
}

// VerifyError says that a device did not keep what was written to it.
type VerifyError struct {
	// Offset in bytes of the first block that differs.
	Offset int64
}

func (e *VerifyError) Error() string {
	return fmt.Sprintf("the device returns other data than was written (first at byte %d): it is worn out or counterfeit, use another", e.Offset)
}

// wipeSize is how much is erased at each place where something old may be
// recognised: partition tables, file systems' superblocks, RAID and LVM labels.
const wipeSize = 1 << 20

// wipe erases the old partition table at both ends of a device, and the
// beginning of every partition in it, which the new system may otherwise find
// again after it made its own partitions at the same places.
func (t *target) wipe() error {
	if !t.device {
		return nil
	}
	places := []int64{0, t.size - wipeSize}
	// What cannot be read as a table has no partitions to forget.
	if l, err := disk.Read(t, t.size); err == nil {
		for _, p := range l.Partitions {
			places = append(places, p.Start)
		}
	}
	for _, off := range places {
		off = max(0, off)
		if err := t.zero(off, min(wipeSize, t.size-off)); err != nil {
			return err
		}
	}
	return t.f.Sync()
}

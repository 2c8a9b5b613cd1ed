// Package wear checks whether a slot still has what was written to it: cards lose bits, and
// squashfs has no checksums.
//
// It only reads. It knows no slots and no devices, and mends nothing: what is lost comes back with
// an update, into the other slot.
package wear

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// ErrDamaged says that a root differs from what was written.
var ErrDamaged = errors.New("the system does not read as it was written")

// The superblock of a squashfs begins with its magic; at offset 40 it has the number of bytes that
// the file system uses: Linux, fs/squashfs/squashfs_fs.h.
const (
	magic  = "hsqs"
	usedAt = 40
)

// pieces is how many bytes are read at a time: other reads and writes of the medium get their turn
// in between.
const pieces = 1 << 20

// Check reads a slot to the end of its root and of the hash tree that verifies it. It returns an
// ErrDamaged if these are not as they were written; any other error is that of reading, or of ctx.
func Check(ctx context.Context, slot io.ReaderAt) error {
	head := make([]byte, usedAt+8)
	if _, err := slot.ReadAt(head, 0); err != nil {
		return err
	}
	used := binary.LittleEndian.Uint64(head[usedAt:])
	if !bytes.HasPrefix(head, []byte(magic)) || used > 1<<40 {
		return fmt.Errorf("%w: it begins otherwise", ErrDamaged)
	}
	size := contract.RootSize(int64(used))
	page := make([]byte, contract.RootPage)
	if n, err := slot.ReadAt(page, size); n < len(page) && !errors.Is(err, io.EOF) {
		return err
	}
	want, err := contract.ParseRootSum(page)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	h := sha256.New()
	for _, part := range []*io.SectionReader{io.NewSectionReader(slot, 0, size), io.NewSectionReader(slot, size+contract.RootPage, want.Tree)} {
		if _, err := io.CopyBuffer(h, ctxio.Reader(ctx, part), make([]byte, pieces)); err != nil {
			return err
		}
	}
	if want.Size != size || !bytes.Equal(h.Sum(nil), want.SHA256[:]) {
		return fmt.Errorf("%w: its digest is another one", ErrDamaged)
	}
	return nil
}

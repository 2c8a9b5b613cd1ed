package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/squashfs"
)

// root packs an image's root filesystem.
type root struct {
	*io.SectionReader
	packer *artifact.Packer
	fsys   *squashfs.Reader // nil without a base
	base   *old
}

// against compares the root with the one that nodes run. Patches are used only if the base's
// builder compressed as this program does: nodes recompress patched data the way their image
// was made.
func (r *root) against(i, base *Image) ([]run, *artifact.Base, error) {
	if err := errors.Join(i.unpack(), base.unpack()); err != nil {
		return nil, nil, err
	}
	whole := sha256.New()
	size, err := io.Copy(whole, io.NewSectionReader(base.root, 0, base.root.Size()))
	if err != nil {
		return nil, nil, err
	}
	if r.base, err = newOld(base.root); err != nil {
		return nil, nil, err
	}
	if r.fsys, err = squashfs.Open(i.root); err != nil {
		return nil, nil, err
	}
	blocks, err := r.fsys.Blocks()
	if err != nil {
		return nil, nil, err
	}
	pieces, err := runs(blocks, i.root, r.base, base.patches())
	return pieces, &artifact.Base{Size: size, SHA256: hex.EncodeToString(whole.Sum(nil))}, err
}

func (r *root) pack(ctx context.Context, pieces []run, task progress.Task) (c artifact.Content, err error) {
	whole, buf := sha256.New(), make([]byte, artifact.MaxPart)
	for _, piece := range pieces {
		for done := int64(0); done < piece.size; {
			b := buf[:min(artifact.MaxPart, piece.size-done)]
			if _, err := r.ReadAt(b, piece.at+done); err != nil {
				return c, err
			}
			part, err := r.part(piece, done, b)
			if err = errors.Join(ctx.Err(), err); err != nil {
				return c, err
			}
			whole.Write(b)
			c.Parts = append(c.Parts, part)
			c.Size += part.Size
			done += part.Size
			task.Add(part.Size)
		}
	}
	c.SHA256 = hex.EncodeToString(whole.Sum(nil))
	return c, nil
}

// part packs a part of a piece, starting at an offset; of a piece with blocks it packs
// everything.
func (r *root) part(piece run, done int64, b []byte) (artifact.Part, error) {
	switch {
	case piece.from != travels:
		return artifact.Copy(b, piece.from+done), nil
	case len(piece.blocks) > 0:
		return r.patch(piece.blocks, b)
	}
	return r.packer.Data(b)
}

func (r *root) patch(blocks []squashfs.Block, b []byte) (artifact.Part, error) {
	ranges, err := r.base.like(blocks)
	if err != nil {
		return artifact.Part{}, err
	}
	if len(ranges) == 0 { // new files
		return r.packer.Data(b)
	}
	patch, raw := artifact.Patch{Old: ranges}, []byte(nil)
	for _, block := range blocks {
		content, err := r.fsys.Read(block)
		if err != nil {
			return artifact.Part{}, err
		}
		patch.Blocks = append(patch.Blocks, artifact.Block{Raw: int64(len(content)), Stored: block.Stored})
		raw = append(raw, content...)
	}
	return r.packer.Patch(b, raw, patch, r.base.root)
}

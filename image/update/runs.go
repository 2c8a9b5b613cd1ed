package update

import (
	"crypto/sha256"
	"io"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/image/squashfs"
)

// run is a piece of a root: copied by the node, sent, or patched.
type run struct {
	at, size int64
	from     int64            // offset in the base; negative (travels) if the piece is sent or patched
	blocks   []squashfs.Block // the blocks of a piece that is patched, else none
}

const travels = -1

// groupSize is how many blocks are patched at a time: their content fits into one part.
const groupSize = artifact.MaxPart / codec.BlockSize

// runs divides a root into pieces. A squashfs block that is also in the base is copied.
// Blocks are either equal or entirely different, as they are compressed. With patch, the
// other blocks are patched.
func runs(blocks []squashfs.Block, root *io.SectionReader, base *old, patch bool) ([]run, error) {
	have, err := base.index()
	if err != nil {
		return nil, err
	}
	var all []run
	pos := int64(0)
	for _, b := range blocks {
		if b.Offset < pos {
			continue
		}
		all = join(all, run{at: pos, size: b.Offset - pos, from: travels})
		sum, err := digestOf(root, b)
		if err != nil {
			return nil, err
		}
		r := run{at: b.Offset, size: b.Size, from: travels}
		if from, known := have[sum]; known {
			r.from = from
		} else if patch {
			r.blocks = []squashfs.Block{b}
		}
		all = join(all, r)
		pos = b.Offset + b.Size
	}
	return join(all, run{at: pos, size: root.Size() - pos, from: travels}), nil
}

// join appends a run, or extends the last one if r continues it.
func join(all []run, r run) []run {
	if r.size == 0 {
		return all
	}
	if len(all) > 0 && all[len(all)-1].continued(r) {
		last := &all[len(all)-1]
		last.size += r.size
		last.blocks = append(last.blocks, r.blocks...)
		return all
	}
	return append(all, r)
}

func (r run) continued(next run) bool {
	switch {
	case r.from != travels || next.from != travels:
		return r.from != travels && next.from == r.from+r.size
	case len(r.blocks) > 0:
		return len(next.blocks) > 0 && len(r.blocks) < groupSize
	}
	return len(next.blocks) == 0
}

// index maps the digests of the base's blocks to their offsets.
func (o *old) index() (map[[32]byte]int64, error) {
	have := map[[32]byte]int64{}
	for _, b := range o.blocks {
		sum, err := digestOf(o.root, b)
		if err != nil {
			return nil, err
		}
		have[sum] = b.Offset
	}
	return have, nil
}

func digestOf(root io.ReaderAt, b squashfs.Block) (sum [32]byte, err error) {
	data := make([]byte, b.Size)
	_, err = root.ReadAt(data, b.Offset)
	return sha256.Sum256(data), err
}

// unpack copies the root into a temporary file for random access, which would take hours in
// a compressed image. Close removes the file.
func (i *Image) unpack() (err error) {
	if i.temp, err = os.CreateTemp(i.dir, "root-"); err != nil {
		return err
	}
	size, err := io.Copy(i.temp, i.root)
	i.root = io.NewSectionReader(i.temp, 0, size)
	return err
}

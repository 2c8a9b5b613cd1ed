package update

import (
	"crypto/sha256"
	"io"
	"os"

	"github.com/going-mobile/imagebuilder/image/squashfs"
)

// run is a piece of a root: one that a node copies, or one that travels.
type run struct {
	at, size int64
	from     int64 // in the base; travels if negative
}

// runs divides a root into pieces. Where a block of its squashfs is in the base,
// too, it is copied: blocks are alike, or altogether different.
func runs(root, base *io.SectionReader) ([]run, error) {
	have, err := index(base)
	if err != nil {
		return nil, err
	}
	blocks, err := blocksOf(root)
	if err != nil {
		return nil, err
	}
	var all []run
	pos := int64(0)
	for _, b := range blocks {
		if b.Offset < pos {
			continue
		}
		all = join(all, run{pos, b.Offset - pos, travels})
		sum, err := digestOf(root, b)
		if err != nil {
			return nil, err
		}
		from, known := have[sum]
		if !known {
			from = travels
		}
		all = join(all, run{b.Offset, b.Size, from})
		pos = b.Offset + b.Size
	}
	return join(all, run{pos, root.Size() - pos, travels}), nil
}

const travels = -1

// join appends a run, to the last one where it continues that.
func join(all []run, r run) []run {
	if r.size == 0 {
		return all
	}
	if len(all) > 0 {
		last := &all[len(all)-1]
		if r.from == travels && last.from == travels || r.from != travels && last.from != travels && last.from+last.size == r.from {
			last.size += r.size
			return all
		}
	}
	return append(all, r)
}

// index tells where in the base a block lies, by its digest.
func index(base *io.SectionReader) (map[[32]byte]int64, error) {
	blocks, err := blocksOf(base)
	if err != nil {
		return nil, err
	}
	have := map[[32]byte]int64{}
	for _, b := range blocks {
		sum, err := digestOf(base, b)
		if err != nil {
			return nil, err
		}
		have[sum] = b.Offset
	}
	return have, nil
}

func blocksOf(root io.ReaderAt) ([]squashfs.Block, error) {
	fsys, err := squashfs.Open(root)
	if err != nil {
		return nil, err
	}
	return fsys.Blocks()
}

func digestOf(root io.ReaderAt, b squashfs.Block) (sum [32]byte, err error) {
	data := make([]byte, b.Size)
	_, err = root.ReadAt(data, b.Offset)
	return sha256.Sum256(data), err
}

// unpack puts the root into a file, for reading to and fro: of an image that is
// compressed that would take hours. Close removes it.
func (i *Image) unpack() (err error) {
	if i.temp, err = os.CreateTemp("", "imagebuilder-update-"); err != nil {
		return err
	}
	size, err := io.Copy(i.temp, i.root)
	i.root = io.NewSectionReader(i.temp, 0, size)
	return err
}

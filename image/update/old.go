package update

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/image/squashfs"
)

// old is a base, in which the previous content of files is found.
type old struct {
	*squashfs.Reader
	root   *io.SectionReader
	blocks []squashfs.Block
	raws   []int64            // the uncompressed size of each block, once it was needed
	files  map[string][]place // by likeness of the files' paths, ordered by piece
}

// place is where a piece of a file is: its offset in the file, and the index of the block.
type place struct {
	at    int64
	block int
}

func newOld(root *io.SectionReader) (*old, error) {
	fsys, err := squashfs.Open(root)
	if err != nil {
		return nil, err
	}
	o := &old{Reader: fsys, root: root, files: map[string][]place{}}
	if o.blocks, err = fsys.Blocks(); err != nil {
		return nil, err
	}
	o.raws = make([]int64, len(o.blocks))
	for i, b := range o.blocks {
		for _, p := range b.Pieces {
			key := likeness(p.Path)
			o.files[key] = append(o.files[key], place{p.At, i})
		}
	}
	return o, nil
}

// likeness is a path without its digits: the numbers of kernels and libraries differ in
// every version.
func likeness(path string) string {
	var b strings.Builder
	number := false
	for _, c := range path {
		digit := c >= '0' && c <= '9'
		if digit && !number {
			b.WriteByte('#')
		} else if !digit {
			b.WriteRune(c)
		}
		number = digit
	}
	return b.String()
}

// like returns ranges of the base with the previous content of some blocks, the nearest
// first, up to the size of a dictionary.
func (o *old) like(blocks []squashfs.Block) ([]artifact.Range, error) {
	var near [][]int // for each piece, indexes of blocks
	for _, b := range blocks {
		for _, p := range b.Pieces {
			near = append(near, o.near(p))
		}
	}
	return o.ranges(take(near, artifact.MaxOld/codec.BlockSize))
}

// near are the blocks with previous content of a piece's file, by distance.
func (o *old) near(p squashfs.Piece) (all []int) {
	places := slices.Clone(o.files[likeness(p.Path)])
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(distance(a.at, p.At), distance(b.at, p.At)) })
	for _, pl := range places {
		all = append(all, pl.block)
	}
	return all
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// take takes the first of each list, then the second of each and so on, up to limit, and
// sorts them.
func take(lists [][]int, limit int) (taken []int) {
	seen := map[int]bool{}
	for rank, more := 0, true; more; rank++ {
		more = false
		for _, list := range lists {
			if rank >= len(list) {
				continue
			}
			more = true
			if len(seen) < limit && !seen[list[rank]] {
				seen[list[rank]] = true
				taken = append(taken, list[rank])
			}
		}
	}
	slices.Sort(taken)
	return taken
}

// ranges joins adjacent blocks.
func (o *old) ranges(blocks []int) (all []artifact.Range, err error) {
	for _, i := range blocks {
		b := o.blocks[i]
		r := artifact.Range{At: b.Offset, Size: b.Size}
		if r.Raw, err = o.raw(i); err != nil {
			return nil, err
		}
		last := len(all) - 1
		if last >= 0 && all[last].At+all[last].Size == r.At && (all[last].Raw == 0) == b.Stored {
			all[last].Size += r.Size
			all[last].Raw += r.Raw
			continue
		}
		all = append(all, r)
	}
	return all, nil
}

// raw is a range's value for a block: its uncompressed size, 0 if it is not compressed.
func (o *old) raw(i int) (int64, error) {
	if o.blocks[i].Stored || o.raws[i] > 0 {
		return o.raws[i], nil
	}
	content, err := o.Read(o.blocks[i])
	o.raws[i] = int64(len(content))
	return o.raws[i], err
}

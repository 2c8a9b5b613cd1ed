package squashfs

import (
	"cmp"
	"fmt"
	"slices"
)

// Block is a data or fragment block of an image.
type Block struct {
	Offset, Size int64
	// Stored says that the block is not compressed.
	Stored bool
	// Pieces lists the files in the block, in the order of the tree. Files with equal
	// contents share blocks; all of them are listed.
	Pieces []Piece
}

// Piece is the part of a file that begins at offset At of the file.
type Piece struct {
	Path string
	At   int64
}

// Blocks returns the data blocks of all files and the fragment blocks, in their order in
// the image. The blocks of tables are not included.
func (r *Reader) Blocks() ([]Block, error) {
	t, err := r.Tree()
	if err != nil {
		return nil, err
	}
	fragments, err := r.fragmentBlocks()
	if err != nil {
		return nil, err
	}
	all := fragments
	for n := range t.Walk() {
		c, ok := n.Content.(*content)
		if !ok {
			continue
		}
		if all, err = c.appendBlocks(all, n.Path); err != nil {
			return nil, fmt.Errorf("/%s: %w", n.Path, err)
		}
		if c.fragment != noFragment {
			if int64(c.fragment) >= int64(len(fragments)) {
				return nil, fmt.Errorf("corrupt squashfs: /%s: fragment %d of %d", n.Path, c.fragment, len(fragments))
			}
			f := &all[c.fragment]
			f.Pieces = append(f.Pieces, Piece{n.Path, c.size - c.size%int64(r.sb.BlockSize)})
		}
	}
	return merge(all), nil
}

// Read returns the uncompressed content of a block.
func (r *Reader) Read(b Block) ([]byte, error) {
	return r.readBlock(b.Offset, word(b), int(r.sb.BlockSize))
}

func word(b Block) uint32 {
	if b.Stored {
		return uint32(b.Size) | storedBlock
	}
	return uint32(b.Size)
}

func newBlock(offset int64, word uint32) Block {
	return Block{Offset: offset, Size: int64(word &^ storedBlock), Stored: word&storedBlock != 0}
}

// merge sorts blocks and merges those that equal contents share.
func merge(all []Block) []Block {
	slices.SortStableFunc(all, func(a, b Block) int { return cmp.Compare(a.Offset, b.Offset) })
	merged := all[:0]
	for _, b := range all {
		if last := len(merged) - 1; last >= 0 && merged[last].Offset == b.Offset && merged[last].Size == b.Size {
			merged[last].Pieces = append(merged[last].Pieces, b.Pieces...)
			continue
		}
		merged = append(merged, b)
	}
	return merged
}

func (c *content) appendBlocks(all []Block, path string) ([]Block, error) {
	size := int64(c.r.sb.BlockSize)
	count := c.size / size
	if c.size%size > 0 && c.fragment == noFragment {
		count++
	}
	words, err := c.r.cursorAt(c.blocks)
	if err != nil {
		return nil, err
	}
	pos := c.start
	for i := range count {
		word, err := words.uint32()
		if err != nil {
			return nil, err
		}
		b := newBlock(pos, word)
		if b.Size > 0 { // a hole has no block
			b.Pieces = []Piece{{path, i * size}}
			all = append(all, b)
			pos += b.Size
		}
	}
	return all, nil
}

// fragmentBlocks returns the fragment blocks by number.
func (r *Reader) fragmentBlocks() (all []Block, err error) {
	for i := range r.sb.Fragments {
		var e struct {
			Start        uint64
			Word, Unused uint32
		}
		if err := r.lookup("fragment", r.sb.FragTable, i, r.sb.Fragments, &e); err != nil {
			return nil, err
		}
		all = append(all, newBlock(int64(e.Start), e.Word))
	}
	return all, nil
}

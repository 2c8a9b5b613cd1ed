package squashfs

import (
	"cmp"
	"fmt"
	"slices"
)

// Block is where in an image a compressed block lies.
type Block struct{ Offset, Size int64 }

// Blocks returns the blocks of all files, and those that hold the ends of several,
// in the order in which they lie in the image. Tables are none.
func (r *Reader) Blocks() ([]Block, error) {
	t, err := r.Tree()
	if err != nil {
		return nil, err
	}
	var all []Block
	for n := range t.Walk() {
		c, ok := n.Content.(*content)
		if !ok {
			continue
		}
		if all, err = c.appendBlocks(all); err != nil {
			return nil, fmt.Errorf("/%s: %w", n.Path, err)
		}
	}
	if all, err = r.appendFragments(all); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Block) int { return cmp.Compare(a.Offset, b.Offset) })
	return slices.Compact(all), nil // equal contents share theirs
}

func (c *content) appendBlocks(all []Block) ([]Block, error) {
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
	for range count {
		word, err := words.uint32()
		if err != nil {
			return nil, err
		}
		if stored := int64(word &^ storedBlock); stored > 0 { // a hole has none
			all = append(all, Block{pos, stored})
			pos += stored
		}
	}
	return all, nil
}

func (r *Reader) appendFragments(all []Block) ([]Block, error) {
	for i := range r.sb.Fragments {
		var e struct {
			Start        uint64
			Word, Unused uint32
		}
		if err := r.lookup("fragment", r.sb.FragTable, i, r.sb.Fragments, &e); err != nil {
			return nil, err
		}
		all = append(all, Block{int64(e.Start), int64(e.Word &^ storedBlock)})
	}
	return all, nil
}

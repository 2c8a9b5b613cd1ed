package fat

import (
	"errors"
	"fmt"
	"io"

	"github.com/going-mobile/imagebuilder/image/tree"
)

type writer struct {
	w     io.WriterAt
	g     geometry
	opt   Options
	label string
	items []*item
	used  int64
}

// Write makes a FAT32 volume of opt.Size bytes from t, from offset 0 of w.
//
// It writes everything that a reader may look at: the reserved sectors, both FATs in full,
// and all clusters of files and directories to their last byte. It does not write free
// clusters. So w need not read as zeros, a sparse file stays sparse, and what a recording
// io.WriterAt sees is exactly what a block map must contain.
func Write(w io.WriterAt, t *tree.Tree, opt Options) error {
	fw, err := prepare(w, t, opt)
	if err != nil {
		return fmt.Errorf("write FAT32: %w", err)
	}
	if err := fw.write(); err != nil {
		return fmt.Errorf("write FAT32: %w", err)
	}
	return nil
}

func prepare(w io.WriterAt, t *tree.Tree, opt Options) (*writer, error) {
	label, err := volumeLabel(opt.Label)
	if err != nil {
		return nil, err
	}
	g, err := plan(opt)
	if err != nil {
		return nil, err
	}
	fw := &writer{w: w, g: g, opt: opt, label: label}
	return fw, fw.arrange(t)
}

func (w *writer) arrange(t *tree.Tree) error {
	items, err := collect(t)
	if err != nil {
		return err
	}
	for _, it := range items {
		if err := it.nameEntries(); err != nil {
			return err
		}
	}
	w.items = items
	w.used, err = place(w.g, items, w.label != noLabel)
	return err
}

func (w *writer) write() error {
	if err := w.writeReserved(); err != nil {
		return err
	}
	if err := w.writeFATs(); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for _, it := range w.items {
		if err := w.writeItem(it, buf); err != nil {
			return fmt.Errorf("/%s: %w", it.node.Path, err)
		}
	}
	return nil
}

func (w *writer) writeReserved() error {
	b := make([]byte, w.g.reserved*sectorSize)
	boot := bootSector(w.g, w.opt, w.label)
	next := uint32(2 + w.used)
	if !w.g.valid(next) {
		next = 0xffffffff // unknown
	}
	info := fsInfo(w.g.clusters-w.used, next)
	for _, at := range []int{0, backupBootSector} {
		copy(b[at*sectorSize:], boot)
		copy(b[(at+fsInfoSector)*sectorSize:], info)
		// fatgen103 calls sectors 0, 1 and 2 the boot record. The third is for code, of
		// which there is none.
		copy(b[(at+2)*sectorSize+510:], []byte{0x55, 0xaa})
	}
	_, err := w.w.WriteAt(b, 0)
	return err
}

// writeFATs writes both copies, one piece at a time.
func (w *writer) writeFATs() error {
	const piece = 1 << 16
	size := w.g.fatSectors * sectorSize
	table := newChains(w.items)
	buf := make([]byte, piece)
	for off := int64(0); off < size; off += piece {
		b := buf[:min(piece, size-off)]
		table.fill(b, off/4)
		for i := range w.g.fats {
			if _, err := w.w.WriteAt(b, w.g.fatStart(i)+off); err != nil {
				return err
			}
		}
	}
	return nil
}

// chains produces the FAT's entries in order. Every item is contiguous, so only its last
// cluster needs to be known.
type chains struct {
	items []*item
	i     int
}

func newChains(items []*item) *chains { return &chains{items: items} }

// fill encodes the entries from number first. Calls must be in rising order.
func (c *chains) fill(b []byte, first int64) {
	for i := 0; i < len(b); i += 4 {
		le.PutUint32(b[i:], c.entry(first+int64(i/4)))
	}
}

func (c *chains) entry(n int64) uint32 {
	switch n {
	case 0:
		return 0x0fffff00 | mediaFixed
	case 1:
		return endOfChain // also: cleanly unmounted, no hard errors
	}
	for c.i < len(c.items) && n >= int64(c.items[c.i].first)+c.items[c.i].count {
		c.i++
	}
	switch {
	case c.i == len(c.items):
		return 0
	case n == int64(c.items[c.i].first)+c.items[c.i].count-1:
		return endOfChain
	}
	return uint32(n + 1)
}

func (w *writer) writeItem(it *item, buf []byte) error {
	if it.count == 0 {
		return nil
	}
	off := w.g.offset(it.first)
	if it.content == nil {
		_, err := w.w.WriteAt(w.encodeDir(it), off)
		return err
	}
	r, err := it.content.Open()
	if err != nil {
		return err
	}
	err = w.copyData(r, off, it, buf)
	return errors.Join(err, r.Close())
}

// copyData writes exactly the announced length, then zeros to the end of the last cluster,
// so that no data of an older file remains.
func (w *writer) copyData(r io.Reader, off int64, it *item, buf []byte) error {
	size := it.content.Size()
	end := off + it.count*w.g.clusterSize()
	for left := size; off < end; {
		b := buf[:min(int64(len(buf)), end-off)]
		n := int(min(left, int64(len(b))))
		if _, err := io.ReadFull(r, b[:n]); err != nil {
			return shortContent(size, err)
		}
		clear(b[n:])
		if _, err := w.w.WriteAt(b, off); err != nil {
			return err
		}
		left -= int64(n)
		off += int64(len(b))
	}
	if n, err := r.Read(buf[:1]); n > 0 || err != nil && err != io.EOF {
		return errors.Join(fmt.Errorf("content longer than the announced %d bytes", size), ignoreEOF(err))
	}
	return nil
}

func shortContent(size int64, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("content shorter than the announced %d bytes", size)
	}
	return err
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

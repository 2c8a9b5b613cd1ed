package squashfs

import (
	"context"
	"fmt"
	"io"
	"math/bits"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Write writes t to w from offset 0 and returns the size of the image, a multiple of 4 KiB.
// Each distinct content is opened at most once, read to its end and checked against its
// digest. The superblock is written last, so an error leaves no valid file system behind.
//
// Memory is bounded by about 6 MB per processor and a few hundred bytes per node: a root of
// 370 MB takes 25 MB with two processors.
func Write(ctx context.Context, w io.WriterAt, t *tree.Tree, opt Options) (size int64, err error) {
	opt, err = opt.withDefaults()
	if err != nil {
		return 0, err
	}
	p, err := newPlan(t, opt)
	if err != nil {
		return 0, err
	}
	fragments := layOut(p.files)
	end, err := pack(ctx, w, p.files, fragments, opt)
	if err != nil {
		return 0, err
	}
	c, err := newCompressor()
	if err != nil {
		return 0, err
	}
	tables := &tableWriter{w: w, c: c, pos: end}
	if err := tables.write(p, fragments, opt); err != nil {
		return 0, err
	}
	if opt.Cache != nil {
		opt.Cache.Commit()
	}
	return tables.pos, nil
}

// tableWriter appends the tables after the data. Their order is fixed and there must be no
// gaps: the kernel checks both.
type tableWriter struct {
	w   io.WriterAt
	c   *compressor
	pos int64
	err error
}

func (t *tableWriter) write(p *plan, fragments []*fragment, opt Options) error {
	inodes, dirs := &metaWriter{c: t.c}, &metaWriter{c: t.c}
	if err := writeInodes(p, inodes, dirs); err != nil {
		return err
	}
	sb := superblock{
		Magic: magic, Major: 4,
		Inodes:     uint32(len(p.inodes)),
		ModTime:    p.modTime,
		BlockSize:  blockSize,
		BlockLog:   uint16(bits.TrailingZeros(blockSize)),
		Fragments:  uint32(len(fragments)),
		Compressor: compressorZstd,
		Flags:      flagDuplicates | flagExportable,
		IDs:        uint16(len(p.ids.ids)),
		Root:       uint64(p.root.ref),
	}
	sb.InodeTable = t.append(inodes.out)
	sb.DirTable = t.append(dirs.out)
	sb.FragTable = t.table(encodeFragments(fragments))
	sb.ExportTable = t.table(encodeExport(p))
	sb.IDTable = t.table(encodeIDs(p))
	sb.XattrTable = t.xattrs(&p.xattrs)
	if sb.XattrTable == noTable {
		sb.Flags |= flagNoXattrs
	}
	sb.BytesUsed = uint64(t.pos)
	t.append(make([]byte, -t.pos&(padding-1)))
	if t.err == nil {
		_, t.err = t.w.WriteAt(sb.encode(), 0)
	}
	if t.err != nil {
		return fmt.Errorf("write squashfs: %w", t.err)
	}
	return nil
}

// append writes b and returns its offset.
func (t *tableWriter) append(b []byte) uint64 {
	at := t.pos
	if t.err == nil && len(b) > 0 {
		_, t.err = t.w.WriteAt(b, at)
	}
	t.pos += int64(len(b))
	return uint64(at)
}

// table writes data as metadata blocks, followed by the list of their offsets, and returns
// the offset of that list.
func (t *tableWriter) table(data []byte) uint64 {
	m := &metaWriter{c: t.c}
	m.write(data)
	m.flush()
	base := t.append(m.out)
	return t.append(m.index(int64(base)))
}

// xattrs writes the attributes, then the table of sets, and returns the offset of its
// header.
func (t *tableWriter) xattrs(x *xattrTable) uint64 {
	if len(x.sets) == 0 {
		return noTable
	}
	values, sets := &metaWriter{c: t.c}, &metaWriter{c: t.c}
	for _, s := range x.sets {
		b := le.AppendUint64(nil, uint64(values.pos()))
		b = le.AppendUint32(b, s.count)
		sets.write(le.AppendUint32(b, uint32(len(s.data))))
		values.write([]byte(s.data))
	}
	values.flush()
	sets.flush()
	valuesAt := t.append(values.out)
	setsAt := t.append(sets.out)
	header := le.AppendUint64(nil, valuesAt)
	header = le.AppendUint32(header, uint32(len(x.sets)))
	header = le.AppendUint32(header, 0)
	return t.append(append(header, sets.index(int64(setsAt))...))
}

func encodeFragments(fragments []*fragment) (b []byte) {
	for _, g := range fragments {
		b = le.AppendUint64(b, uint64(g.start))
		b = le.AppendUint32(b, g.word)
		b = le.AppendUint32(b, 0)
	}
	return b
}

func encodeExport(p *plan) (b []byte) {
	for _, i := range p.inodes {
		b = le.AppendUint64(b, uint64(i.ref))
	}
	return b
}

func encodeIDs(p *plan) (b []byte) {
	for _, id := range p.ids.ids {
		b = le.AppendUint32(b, id)
	}
	return b
}

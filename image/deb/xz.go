package deb

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/mikelolasagasti/xz"
)

// The container of xz files, from "The .xz File Format" version 1.2.1:
// header, blocks, index, footer.
const (
	xzHeaderSize = 12
	xzFooterSize = 12
	// maxBlock is the largest block that is decoded in parallel with others, in bytes. xz
	// -T makes blocks of three dictionaries: 24 MiB for -6.
	maxBlock = 72 << 20
	// maxAhead bounds the number of blocks in memory at one time.
	maxAhead = 4
	// maxIndex is larger than any index of a file that is worth decoding in parallel, in
	// bytes.
	maxIndex = 64 << 10
)

// newXZReader decodes an .xz file of size bytes. A single stream of several blocks, which
// large packages have, is decoded block by block on up to maxAhead processors. Anything
// else, including damaged files, goes through the ordinary decoder.
func newXZReader(ctx context.Context, r io.ReaderAt, size int64) (io.ReadCloser, error) {
	workers := min(runtime.GOMAXPROCS(0), maxAhead)
	if layout, ok := readXZLayout(r, size); ok && workers > 1 {
		return newBlockReader(ctx, r, layout, workers), nil
	}
	return openXZ(io.NewSectionReader(r, 0, size))
}

// decoders keeps idle decoders for reuse: each has a dictionary of 8 MiB or more, and a
// build opens several hundred streams.
var decoders sync.Pool

// pooledXZ is a decoder that returns to the pool when closed.
type pooledXZ struct{ *xz.Reader }

func openXZ(r io.Reader) (pooledXZ, error) {
	z, ok := decoders.Get().(*xz.Reader)
	if !ok {
		z, err := xz.NewReader(r, maxDict)
		return pooledXZ{z}, err
	}
	return pooledXZ{z}, z.Reset(r)
}

func (p pooledXZ) Close() error {
	decoders.Put(p.Reader)
	return nil
}

// xzBlock is one block of a stream and its record in the index.
type xzBlock struct {
	off                    int64
	unpadded, uncompressed uint64
}

// paddedSize is the length of the block in the file.
func (b xzBlock) paddedSize() int64 { return int64(b.unpadded+3) &^ 3 }

type xzLayout struct {
	header []byte // the stream header, common to all blocks
	flags  [2]byte
	blocks []xzBlock
}

// readXZLayout finds the blocks of a file that is one stream of several blocks of moderate
// size. It returns false for every other file, even a damaged one: the ordinary decoder
// then reports what is wrong with it.
func readXZLayout(r io.ReaderAt, size int64) (xzLayout, bool) {
	var l xzLayout
	ends := make([]byte, xzHeaderSize+xzFooterSize)
	if size < int64(len(ends)) ||
		readFull(r, ends[:xzHeaderSize], 0) != nil ||
		readFull(r, ends[xzHeaderSize:], size-xzFooterSize) != nil {
		return l, false
	}
	header, footer := ends[:xzHeaderSize], ends[xzHeaderSize:]
	if string(header[:6]) != "\xfd7zXZ\x00" || string(footer[10:]) != "YZ" ||
		binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(footer[4:10]) ||
		!bytes.Equal(header[6:8], footer[8:10]) {
		return l, false
	}
	l.header, l.flags = header, [2]byte(header[6:8])
	indexSize := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	indexOff := size - xzFooterSize - indexSize
	if indexSize > maxIndex || indexOff < xzHeaderSize {
		return l, false
	}
	index := make([]byte, indexSize)
	if readFull(r, index, indexOff) != nil {
		return l, false
	}
	var ok bool
	l.blocks, ok = parseXZIndex(index, indexOff)
	return l, ok
}

// parseXZIndex reads the records of an index. Their blocks must exactly fill the space
// between the stream header and end.
func parseXZIndex(index []byte, end int64) ([]xzBlock, bool) {
	body, sum := index[:len(index)-4], index[len(index)-4:]
	if body[0] != 0 || crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return nil, false
	}
	rest := body[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			rest = nil
			return 0
		}
		rest = rest[n:]
		return v
	}
	count := next()
	if count < 2 || count > uint64(len(body)) {
		return nil, false
	}
	off := int64(xzHeaderSize)
	blocks := make([]xzBlock, 0, count)
	for range count {
		b := xzBlock{off: off, unpadded: next(), uncompressed: next()}
		if b.unpadded == 0 || b.unpadded > maxBlock || b.uncompressed > maxBlock {
			return nil, false
		}
		off += b.paddedSize()
		blocks = append(blocks, b)
	}
	return blocks, off == end && len(rest) < 4
}

// stream returns block b of r as a complete .xz file: the header, the block, an index with
// only its record, and a footer. The decoder thus verifies the block against its checksum
// and its record.
func (l xzLayout) stream(r io.ReaderAt, b xzBlock) io.Reader {
	index := []byte{0, 1}
	index = binary.AppendUvarint(index, b.unpadded)
	index = binary.AppendUvarint(index, b.uncompressed)
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))

	tail := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	tail = append(tail, l.flags[0], l.flags[1])
	footer := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(tail))
	footer = append(append(footer, tail...), "YZ"...)
	return io.MultiReader(
		bytes.NewReader(l.header),
		io.NewSectionReader(r, b.off, b.paddedSize()),
		bytes.NewReader(append(index, footer...)))
}

// decode returns the content of block b, in buf if it fits.
func (l xzLayout) decode(r io.ReaderAt, b xzBlock, buf []byte) ([]byte, error) {
	z, err := openXZ(l.stream(r, b))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	if uint64(cap(buf)) < b.uncompressed {
		buf = make([]byte, b.uncompressed)
	}
	data := buf[:b.uncompressed]
	if _, err := io.ReadFull(z, data); err != nil {
		return nil, err
	}
	if n, err := z.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("block is longer than its index says: %w", err)
	}
	return data, nil
}

// blockReader returns the content of blocks in order while the next few are being decoded.
type blockReader struct {
	r       io.ReaderAt
	layout  xzLayout
	workers int
	ctx     context.Context
	cancel  context.CancelFunc
	pending []chan decoded // blocks being decoded, in order
	started int
	spare   [][]byte // buffers to use again
	block   []byte   // the block being read
	rest    []byte   // its unread part
	err     error
}

type decoded struct {
	data []byte
	err  error
}

func newBlockReader(ctx context.Context, r io.ReaderAt, l xzLayout, workers int) *blockReader {
	ctx, cancel := context.WithCancel(ctx)
	return &blockReader{r: contextReaderAt{ctx, r}, layout: l, workers: workers, ctx: ctx, cancel: cancel}
}

func (b *blockReader) Read(p []byte) (int, error) {
	for len(b.rest) == 0 && b.err == nil {
		b.advance()
	}
	if len(b.rest) == 0 {
		return 0, b.err
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// advance waits for the next block. Only then may a worker reuse the buffer of the one
// before, so that no more blocks than workers are in memory.
func (b *blockReader) advance() {
	if b.block != nil {
		b.spare = append(b.spare, b.block)
		b.block = nil
	}
	b.fill()
	if len(b.pending) == 0 {
		b.err = io.EOF
		return
	}
	d := <-b.pending[0]
	b.pending = b.pending[1:]
	b.block, b.rest, b.err = d.data, d.data, d.err
}

// fill starts decoding as many blocks as there are idle workers.
func (b *blockReader) fill() {
	for b.started < len(b.layout.blocks) && len(b.pending) < b.workers {
		b.pending = append(b.pending, b.start(b.layout.blocks[b.started]))
		b.started++
	}
}

func (b *blockReader) start(block xzBlock) chan decoded {
	var buf []byte
	if n := len(b.spare); n > 0 {
		buf, b.spare = b.spare[n-1], b.spare[:n-1]
	}
	done := make(chan decoded, 1)
	go func() {
		data, err := b.layout.decode(b.r, block, buf)
		done <- decoded{data, err}
	}()
	return done
}

// Close stops the workers and waits for them: each ends at its next read.
func (b *blockReader) Close() error {
	b.cancel()
	for _, done := range b.pending {
		<-done
	}
	b.pending, b.err = nil, io.ErrClosedPipe
	return nil
}

// contextReaderAt returns an error once its context has ended.
type contextReaderAt struct {
	ctx context.Context
	io.ReaderAt
}

func (c contextReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.ReaderAt.ReadAt(p, off)
}

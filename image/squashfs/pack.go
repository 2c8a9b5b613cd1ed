package squashfs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

// job is one block: the feeder reads it or finds it in the cache, a worker compresses it,
// and the placer writes it in the feeder's order.
type job struct {
	raw  *[]byte // the data that was read, in a pooled buffer; nil if the block came from the cache
	buf  *[]byte // pooled space for the result
	size int64   // uncompressed
	key  CacheKey
	file *file // the file of a data block
	num  int   // the number of the block in the file
	frag *fragment
	out  block
	done chan struct{} // closed when out is set
}

// packer is the state that feeder, workers and placer share.
type packer struct {
	opt     Options
	buffers sync.Pool
	todo    chan *job // to the workers
	placing chan *job // to the placer
}

// pack writes all blocks of files and fragments after the superblock and returns where they
// end. It records the position of each block in files and fragments.
func pack(ctx context.Context, w io.WriterAt, files []*file, fragments []*fragment, opt Options) (end int64, err error) {
	p := &packer{
		opt:  opt,
		todo: make(chan *job, workers()),
		// The feeder blocks when this channel is full, which bounds the memory.
		placing: make(chan *job, 4*workers()),
	}
	p.buffers.New = func() any { b := make([]byte, 0, blockSize+blockSize/8); return &b }
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(p.todo)
		defer close(p.placing)
		f := &feeder{packer: p, ctx: ctx, codec: codec.Name(), fragments: fragments}
		return f.feed(files)
	})
	for range workers() {
		g.Go(p.work)
	}
	g.Go(func() error {
		end, err = p.place(ctx, w)
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	return end, nil
}

// work compresses blocks until there are no more.
func (p *packer) work() error {
	c, err := newCompressor()
	if err != nil {
		return err
	}
	for j := range p.todo {
		j.out = c.data(*j.raw, *j.buf, j.frag == nil)
		if p.opt.Cache != nil && j.out.form != formNoise {
			p.opt.Cache.Put(j.key, j.out.encode())
		}
		close(j.done)
	}
	return nil
}

// place writes blocks in order and returns where they end.
func (p *packer) place(ctx context.Context, w io.WriterAt) (int64, error) {
	pos := int64(superblockSize)
	for j := range p.placing {
		select {
		case <-j.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if _, err := w.WriteAt(j.out.data, pos); err != nil {
			return 0, fmt.Errorf("write squashfs: %w", err)
		}
		j.placed(pos)
		pos += int64(len(j.out.data))
		p.opt.Progress(j.size)
		p.put(j.raw)
		p.put(j.buf)
	}
	return pos, ctx.Err()
}

// placed records the position of the block.
func (j *job) placed(pos int64) {
	word := uint32(len(j.out.data))
	if j.out.stored() {
		word |= storedBlock
	}
	if j.frag != nil {
		j.frag.start, j.frag.word = pos, word
		return
	}
	if j.num == 0 {
		j.file.start = pos
	}
	j.file.blocks[j.num] = word
	if j.out.form == formHole {
		j.file.blocks[j.num] = 0
		j.file.sparse += j.size
	}
}

func (p *packer) get() *[]byte { return p.buffers.Get().(*[]byte) }

func (p *packer) put(b *[]byte) {
	if b != nil {
		p.buffers.Put(b)
	}
}

// feeder goes through the files, reads what the cache does not have, and makes jobs. It
// runs in one goroutine, so that contents are read once and in order.
type feeder struct {
	*packer
	ctx       context.Context
	codec     string
	fragments []*fragment
	open      *job // the fragment being filled, not yet sent
}

func (f *feeder) feed(files []*file) error {
	for _, file := range files {
		if err := f.file(file); err != nil {
			return fmt.Errorf("/%s: %w", file.name, err)
		}
	}
	return nil
}

// file sends the blocks of one file, or adds the file to its fragment.
func (f *feeder) file(file *file) error {
	src := &source{file: file}
	defer src.close()
	for num := range file.blocks {
		off := int64(num) * blockSize
		j := &job{file: file, num: num, size: min(blockSize, file.size-off), key: f.blockKey(file, num)}
		if !f.cached(j) {
			if err := src.readAt(f.raw(j), off); err != nil {
				return err
			}
		}
		if err := f.send(j); err != nil {
			return err
		}
	}
	if file.fragment != noFragment {
		if err := f.small(src); err != nil {
			return err
		}
	}
	return src.finish()
}

// small adds a file to its fragment. The fragment is begun with its first file and sent
// with its last.
func (f *feeder) small(src *source) error {
	frag := f.fragments[src.file.fragment]
	if frag.files[0] == src.file {
		f.open = &job{frag: frag, size: frag.size, key: f.fragmentKey(frag)}
		if !f.cached(f.open) {
			f.raw(f.open)
		}
	}
	if f.open.raw != nil {
		part := (*f.open.raw)[src.file.offset:][:src.file.size]
		if err := src.readAt(part, 0); err != nil {
			return err
		}
	}
	if frag.files[len(frag.files)-1] != src.file {
		return nil
	}
	return f.send(f.open)
}

// raw gives j a buffer for the data to read.
func (f *feeder) raw(j *job) []byte {
	j.raw = f.get()
	*j.raw = (*j.raw)[:j.size]
	return *j.raw
}

// cached fills j from the cache, if the cache has the block.
func (f *feeder) cached(j *job) bool {
	if f.opt.Cache == nil {
		return false
	}
	j.buf = f.get()
	b, ok := f.opt.Cache.Get(j.key, (*j.buf)[:0])
	if ok {
		j.out, ok = decodeBlock(b, j.size)
	}
	if !ok {
		f.put(j.buf)
		j.buf = nil
		return false
	}
	*j.buf = b
	return true
}

// send passes j on, first to the placer, which determines the order.
func (f *feeder) send(j *job) error {
	j.done = make(chan struct{})
	select {
	case f.placing <- j:
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	if j.raw == nil {
		close(j.done)
		return nil
	}
	j.buf = f.get()
	select {
	case f.todo <- j:
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	return nil
}

func (f *feeder) blockKey(file *file, num int) CacheKey {
	return sha256.Sum256(fmt.Appendf(nil, "%s\nblock %d\n%s", f.codec, num, file.digest))
}

func (f *feeder) fragmentKey(g *fragment) CacheKey {
	b := fmt.Appendf(nil, "%s\nfragment\n", f.codec)
	for _, t := range g.files {
		b = fmt.Appendf(b, "%s\n", t.digest)
	}
	return sha256.Sum256(b)
}

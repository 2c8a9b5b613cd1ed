package fat

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync"
)

// FS is a FAT32 file system opened for reading. It is safe for concurrent use if its
// io.ReaderAt is.
type FS struct {
	r io.ReaderAt
	g geometry

	label    string
	volumeID uint32

	mu    sync.Mutex // guards the window
	win   []byte
	winAt int64 // offset in the FAT, in bytes, at which win begins
}

// Open reads the boot sector. If the volume is not FAT32, the error wraps ErrNotFAT32.
func Open(r io.ReaderAt) (*FS, error) {
	b := make([]byte, sectorSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read FAT32 boot sector: %w", noEOF(err))
	}
	g, err := parseBoot(b)
	if err != nil {
		return nil, err
	}
	f := &FS{r: r, g: g, volumeID: le.Uint32(b[67:])}
	if s := string(b[71:82]); b[66] == 0x29 && s != noLabel {
		f.label = strings.TrimRight(s, " ")
	}
	return f, nil
}

// Size returns the length of the volume in bytes.
func (f *FS) Size() int64 { return f.g.totalSectors * f.g.bytesPerSector }

// noEOF turns io.EOF, here the end of the medium, into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// window is how many bytes of the FAT are kept in memory.
const window = 1 << 16

// next returns a cluster's entry in the first FAT.
func (f *FS) next(cluster uint32) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	off := int64(cluster) * 4
	if f.win == nil || off < f.winAt || off >= f.winAt+int64(len(f.win)) {
		if err := f.load(off / window * window); err != nil {
			return 0, err
		}
	}
	return le.Uint32(f.win[off-f.winAt:]) & fatMask, nil
}

func (f *FS) load(at int64) error {
	b := make([]byte, min(window, f.g.fatSectors*f.g.bytesPerSector-at))
	if _, err := f.r.ReadAt(b, f.g.fatStart(0)+at); err != nil {
		return fmt.Errorf("read FAT at %d: %w", at, noEOF(err))
	}
	f.win, f.winAt = b, at
	return nil
}

// extents follows a cluster chain and returns its runs in order, at most limit bytes of
// them. A chain may end before limit; one that leaves the volume or has a cluster twice is
// an error.
func (f *FS) extents(first uint32, limit int64) ([]Extent, error) {
	var out []Extent
	size := f.g.clusterSize()
	var total, count int64
	for c := first; total < limit; count++ {
		if !f.g.valid(c) {
			return nil, fmt.Errorf("cluster chain from %d leads to cluster %d of %d", first, c, f.g.clusters)
		}
		if count >= f.g.clusters {
			return nil, circleError(first)
		}
		out = appendExtent(out, Extent{f.g.offset(c), min(size, limit-total)})
		total += size
		next, err := f.next(c)
		if err != nil {
			return nil, err
		}
		if next >= 0x0ffffff8 {
			break
		}
		c = next
	}
	if overlap(out) {
		return nil, circleError(first)
	}
	return out, nil
}

func circleError(first uint32) error {
	return fmt.Errorf("cluster chain from %d runs in a circle", first)
}

// overlap reports whether a chain has a cluster twice.
func overlap(ext []Extent) bool {
	if len(ext) < 2 {
		return false
	}
	sorted := slices.SortedFunc(slices.Values(ext), func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	for i, e := range sorted[1:] {
		if p := sorted[i]; p.Offset+p.Length > e.Offset {
			return true
		}
	}
	return false
}

func appendExtent(out []Extent, e Extent) []Extent {
	if n := len(out); n > 0 && out[n-1].Offset+out[n-1].Length == e.Offset {
		out[n-1].Length += e.Length
		return out
	}
	return append(out, e)
}

func length(ext []Extent) (n int64) {
	for _, e := range ext {
		n += e.Length
	}
	return n
}

// fileExtents returns the runs of a file's data, exactly e.size bytes.
func (f *FS) fileExtents(e *entry) ([]Extent, error) {
	if e.size == 0 {
		return nil, nil
	}
	ext, err := f.extents(e.first, e.size)
	if err != nil {
		return nil, err
	}
	if n := length(ext); n != e.size {
		return nil, fmt.Errorf("its %d bytes have clusters for %d only", e.size, n)
	}
	return ext, nil
}

// readDir returns the entries of the directory whose chain begins at cluster.
func (f *FS) readDir(cluster uint32) ([]*entry, error) {
	ext, err := f.extents(cluster, maxDirSize+1)
	if err != nil {
		return nil, err
	}
	if length(ext) > maxDirSize {
		return nil, fmt.Errorf("directory of more than %d bytes", maxDirSize)
	}
	var d dirParser
	for _, e := range ext {
		b := make([]byte, e.Length)
		if _, err := f.r.ReadAt(b, e.Offset); err != nil {
			return nil, fmt.Errorf("read directory at %d: %w", e.Offset, noEOF(err))
		}
		if d.parse(b, e.Offset) {
			break
		}
	}
	return d.out, nil
}

// lookup finds the entry of a path, ignoring case as FAT does.
func (f *FS) lookup(p string) (*entry, error) {
	if !fs.ValidPath(p) || p == "." {
		return nil, &fs.PathError{Op: "find", Path: p, Err: fs.ErrInvalid}
	}
	e := &entry{first: f.g.rootCluster, dir: true}
	for _, name := range strings.Split(p, "/") {
		if !e.dir {
			return nil, &fs.PathError{Op: "find", Path: p, Err: fs.ErrNotExist}
		}
		list, err := f.readDir(e.first)
		if err != nil {
			return nil, &fs.PathError{Op: "find", Path: p, Err: err}
		}
		if e = match(list, name); e == nil {
			return nil, &fs.PathError{Op: "find", Path: p, Err: fs.ErrNotExist}
		}
	}
	return e, nil
}

func match(list []*entry, name string) *entry {
	key := fold(name)
	for _, e := range list {
		if fold(e.name) == key || fold(e.short.String()) == key {
			return e
		}
	}
	return nil
}

// Locate returns where the data of the file at p is on the volume, and the offset of its
// short directory entry. Paths are as in io/fs. The extents cover the file's size, not the
// rest of its last cluster.
func (f *FS) Locate(p string) (data []Extent, dirEntryOffset int64, err error) {
	e, err := f.lookup(p)
	if err != nil {
		return nil, 0, err
	}
	if e.dir {
		return nil, 0, &fs.PathError{Op: "find", Path: p, Err: fmt.Errorf("is a directory")}
	}
	data, err = f.fileExtents(e)
	if err != nil {
		return nil, 0, &fs.PathError{Op: "find", Path: p, Err: err}
	}
	return data, e.offset, nil
}

// ReadFile returns the data of the file at p. It refuses a file of more than limit bytes
// before allocating memory, because the size in the directory cannot be trusted.
func (f *FS) ReadFile(p string, limit int64) ([]byte, error) {
	ext, _, err := f.Locate(p)
	if err != nil {
		return nil, err
	}
	size := length(ext)
	if size > limit || size > math.MaxInt32 {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fmt.Errorf("%d bytes are more than the %d expected at most", size, limit)}
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(&extentReader{r: f.r, ext: ext}, b); err != nil {
		return nil, &fs.PathError{Op: "read", Path: p, Err: noEOF(err)}
	}
	return b, nil
}

// extentReader reads runs one after the other.
type extentReader struct {
	r    io.ReaderAt
	ext  []Extent
	done int64 // of ext[0]
}

func (x *extentReader) Read(p []byte) (int, error) {
	for len(x.ext) > 0 && x.done == x.ext[0].Length {
		x.ext, x.done = x.ext[1:], 0
	}
	if len(x.ext) == 0 {
		return 0, io.EOF
	}
	e := x.ext[0]
	n, err := x.r.ReadAt(p[:min(int64(len(p)), e.Length-x.done)], e.Offset+x.done)
	x.done += int64(n)
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, noEOF(err)
}

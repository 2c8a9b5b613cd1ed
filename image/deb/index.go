package deb

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// A derived file is the content of every regular file one after the other,
// then the index, then a trailer of fixed size:
//
//	index offset, uint64 little-endian
//	index length, uint64 little-endian
//	SHA-256 of the index
//	magic
//
// The index is a sequence of strings (length, bytes) and unsigned varints in the order of
// appendIndex. Only versions of this program read it: to change it, change the magic and
// formatKey.
const (
	indexMagic  = "deb-tree"
	trailerSize = 8 + 8 + sha256.Size + len(indexMagic)
	// formatKey is the end of the keys of derived files.
	formatKey = "-v1"
)

// Kinds of nodes in the index.
const (
	kindFile = iota
	kindHardLink
	kindDir
	kindSymlink
)

// appendIndex encodes p, whose nodes are those of entries.
func appendIndex(b []byte, p *Package, entries []entry) []byte {
	for _, s := range []string{p.Name, p.Version, p.Architecture, p.Control} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(p.ControlFiles)))
	for _, name := range slices.Sorted(maps.Keys(p.ControlFiles)) {
		b = appendString(appendString(b, name), p.ControlFiles[name])
	}
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendEntry(b []byte, e entry) []byte {
	n := e.node
	b = append(b, kindOf(n))
	b = appendString(b, n.Path)
	// kind holds the type bits; the other bits fit into 32 bits.
	for _, v := range []uint64{uint64(n.Mode &^ fs.ModeType), uint64(n.UID), uint64(n.GID), uint64(n.ModTime.Unix())} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendString(b, n.Link)
	b = binary.AppendUvarint(b, uint64(len(n.Xattrs)))
	for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
		b = appendString(appendString(b, name), string(n.Xattrs[name]))
	}
	if e.file != nil {
		b = binary.AppendUvarint(b, uint64(e.file.off))
		b = binary.AppendUvarint(b, uint64(e.file.size))
		b = append(b, e.file.sum[:]...)
	}
	return b
}

func kindOf(n *tree.Node) byte {
	switch {
	case n.Mode.IsDir():
		return kindDir
	case n.Mode&fs.ModeSymlink != 0:
		return kindSymlink
	case n.IsHardLink():
		return kindHardLink
	}
	return kindFile
}

// appendTrailer appends the trailer to an index that starts at off.
func appendTrailer(index []byte, off int64) []byte {
	sum := sha256.Sum256(index)
	size := len(index)
	index = binary.LittleEndian.AppendUint64(index, uint64(off))
	index = binary.LittleEndian.AppendUint64(index, uint64(size))
	index = append(index, sum[:]...)
	return append(index, indexMagic...)
}

// readIndex returns the verified index of a derived file of size bytes, and
// the length of the contents before it.
func readIndex(r io.ReaderAt, size int64) (index []byte, contents int64, err error) {
	t := make([]byte, trailerSize)
	if size < int64(len(t)) {
		return nil, 0, errors.New("no trailer")
	}
	if err := readFull(r, t, size-int64(len(t))); err != nil {
		return nil, 0, err
	}
	off, length := binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint64(t[8:])
	room := uint64(size) - uint64(len(t))
	if string(t[16+sha256.Size:]) != indexMagic || off > room || length != room-off {
		return nil, 0, errors.New("bad trailer")
	}
	index = make([]byte, length)
	if err := readFull(r, index, int64(off)); err != nil {
		return nil, 0, err
	}
	if sum := sha256.Sum256(index); !bytes.Equal(sum[:], t[16:16+sha256.Size]) {
		return nil, 0, errors.New("digest of the index differs")
	}
	return index, int64(off), nil
}

// decodeIndex is the inverse of appendIndex. contents is the length of the area in which
// extents must be.
func decodeIndex(index []byte, contents int64) (*Package, []entry, error) {
	// Substrings of one string need no further allocation.
	d := &indexDecoder{rest: string(index), contents: contents}
	p := &Package{Name: d.string(), Version: d.string(), Architecture: d.string(), Control: d.string()}
	p.ControlFiles = map[string]string{}
	for range d.count() {
		name := d.string()
		p.ControlFiles[name] = d.string()
	}
	entries := make([]entry, 0, d.count())
	nodes := make([]tree.Node, cap(entries))
	files := make([]extent, cap(entries))
	source := p.Name + " " + p.Version
	for i := range nodes {
		nodes[i].Source = source
		entries = append(entries, d.entry(&nodes[i], &files[i]))
	}
	if d.err == nil && d.rest != "" {
		d.fail("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return nil, nil, d.err
	}
	return p, entries, nil
}

// indexDecoder cuts values off the front of rest. After an error all values are zero.
type indexDecoder struct {
	rest     string
	contents int64
	err      error
}

func (d *indexDecoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("index: "+format, args...)
	}
	d.rest = ""
}

func (d *indexDecoder) uint() uint64 {
	var v uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		c := d.rest[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return v
		}
	}
	d.fail("bad number")
	return 0
}

// count returns the number of following items, each of which takes at least one byte.
func (d *indexDecoder) count() int {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.fail("bad count %d", n)
		return 0
	}
	return int(n)
}

func (d *indexDecoder) string() string { return d.take(d.count()) }

func (d *indexDecoder) take(n int) string {
	if n > len(d.rest) {
		d.fail("truncated")
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *indexDecoder) entry(n *tree.Node, file *extent) entry {
	kind := d.take(1)
	n.Path = d.string()
	n.Mode = fs.FileMode(d.uint())
	n.UID, n.GID = uint32(d.uint()), uint32(d.uint())
	n.ModTime = time.Unix(int64(d.uint()), 0).UTC()
	n.Link = d.string()
	for range d.count() {
		if n.Xattrs == nil {
			n.Xattrs = map[string][]byte{}
		}
		name := d.string()
		n.Xattrs[name] = []byte(d.string())
	}
	if n.Mode&fs.ModeType != 0 {
		d.fail("bad mode of /%s", n.Path)
	}
	switch kind {
	case string(rune(kindDir)):
		n.Mode |= fs.ModeDir
	case string(rune(kindSymlink)):
		n.Mode |= fs.ModeSymlink
	case string(rune(kindHardLink)):
	case string(rune(kindFile)):
		d.extent(file)
		return entry{n, file}
	default:
		d.fail("bad kind of /%s", n.Path)
	}
	return entry{n, nil}
}

func (d *indexDecoder) extent(x *extent) {
	off, size := d.uint(), d.uint()
	if off > uint64(d.contents) || size > uint64(d.contents)-off {
		d.fail("extent outside the file")
		return
	}
	x.off, x.size = int64(off), int64(size)
	copy(x.sum[:], d.take(sha256.Size))
}

// hexSum formats a digest as in tree.Content.
func hexSum(sum [32]byte) string { return hex.EncodeToString(sum[:]) }

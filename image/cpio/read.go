package cpio

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// maxUnpacked bounds what a compressed archive may unpack to.
const maxUnpacked = 1 << 30

// Read returns the tree that the kernel would unpack from an initramfs: one
// or more archives after one another, plain ones first, the last one plain or
// compressed with zstd, xz or gzip. Where two have the same path the later
// one counts. Contents are parts of b.
func Read(b []byte) (*tree.Tree, error) {
	t := tree.New()
	for {
		b = bytes.TrimLeft(b, "\x00")
		if len(b) == 0 {
			return t, nil
		}
		if !bytes.HasPrefix(b, []byte(magic)) {
			plain, err := decompress(b)
			if err != nil {
				return nil, err
			}
			return t, readPlain(t, plain)
		}
		rest, err := readArchive(t, b)
		if err != nil {
			return nil, err
		}
		b = rest
	}
}

// readPlain reads archives none of which is compressed.
func readPlain(t *tree.Tree, b []byte) error {
	for b = bytes.TrimLeft(b, "\x00"); len(b) > 0; b = bytes.TrimLeft(b, "\x00") {
		rest, err := readArchive(t, b)
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func decompress(b []byte) ([]byte, error) {
	var r io.Reader
	var err error
	switch {
	case bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20)); err == nil {
			defer z.Close()
			r = z
		}
	case bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")):
		r, err = xz.NewReader(bytes.NewReader(b), xz.DefaultDictMax)
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		r, err = gzip.NewReader(bytes.NewReader(b))
	default:
		return nil, errors.New("not an initramfs: neither cpio nor a known compression")
	}
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err == nil && len(plain) > maxUnpacked {
		err = fmt.Errorf("initramfs unpacks to more than %d bytes", maxUnpacked)
	}
	return plain, err
}

// record is one record of an archive.
type record struct {
	entry
	name string
	body []byte
}

// readArchive adds one archive to t and returns what follows it.
func readArchive(t *tree.Tree, b []byte) (rest []byte, err error) {
	u := &unpacker{t: t, files: map[[3]uint32]*tree.Node{}}
	for off := 0; ; {
		r, next, err := readRecord(b, off)
		if err != nil {
			return nil, fmt.Errorf("cpio record at byte %d: %w", off, err)
		}
		if r.name == trailer {
			return b[next:], nil
		}
		if err := u.add(r); err != nil {
			return nil, fmt.Errorf("cpio record %q: %w", r.name, err)
		}
		off = next
	}
}

// readRecord reads the record at off and returns where the next one begins.
func readRecord(b []byte, off int) (r record, next int, err error) {
	if len(b)-off < headerSize {
		return r, 0, io.ErrUnexpectedEOF
	}
	h := b[off : off+headerSize]
	if string(h[:len(magic)]) != magic {
		return r, 0, errors.New("no newc header")
	}
	var field [4]byte
	for i, f := range r.fields() {
		digits := h[len(magic)+8*i:][:8]
		if _, err := hex.Decode(field[:], digits); err != nil {
			return r, 0, fmt.Errorf("bad number %q", digits)
		}
		*f = uint32(field[0])<<24 | uint32(field[1])<<16 | uint32(field[2])<<8 | uint32(field[3])
	}
	if r.nameSize == 0 || r.nameSize > pathMax {
		return r, 0, fmt.Errorf("name of %d bytes", r.nameSize)
	}
	nameEnd := off + headerSize + int(r.nameSize)
	body := (nameEnd + 3) &^ 3
	end := int64(body) + int64(r.size)
	if nameEnd > len(b) || end > int64(len(b)) && r.size > 0 {
		return r, 0, io.ErrUnexpectedEOF
	}
	r.name = string(b[off+headerSize : nameEnd-1])
	if b[nameEnd-1] != 0 || strings.ContainsRune(r.name, 0) {
		return r, 0, errors.New("bad name")
	}
	if r.size > 0 {
		r.body = b[body:end]
	}
	return r, min(len(b), int(end+3)&^3), nil
}

// unpacker puts records into a tree.
type unpacker struct {
	t     *tree.Tree
	files map[[3]uint32]*tree.Node // with several names, by device and inode
}

func (u *unpacker) add(r record) error {
	p, err := cleanPath(r.name)
	if err != nil {
		return err
	}
	mode, ok := goMode(r.mode)
	if !ok {
		return fmt.Errorf("file type %#o is not supported", r.mode&typeMask)
	}
	n := &tree.Node{
		Path: p, Mode: mode, UID: r.uid, GID: r.gid,
		ModTime: time.Unix(int64(r.mtime), 0).UTC(), Source: "initramfs",
	}
	switch {
	case mode.IsRegular():
		return u.addFile(n, r)
	case mode&fs.ModeSymlink != 0:
		if n.Link = string(r.body); n.Link == "" || strings.ContainsRune(n.Link, 0) {
			return fmt.Errorf("bad symbolic link target %q", n.Link)
		}
	case mode&fs.ModeDevice != 0:
		n.Dev = tree.Dev{Major: r.major, Minor: r.minor}
	}
	return u.put(n)
}

// addFile adds a regular file or another name of one. The content may come
// with any of the names.
func (u *unpacker) addFile(n *tree.Node, r record) error {
	id := [3]uint32{r.devMajor, r.devMinor, r.inode}
	first := u.files[id]
	if r.links < 2 || first == nil || first.Path == n.Path || u.t.Get(first.Path) != first {
		n.Content = tree.Bytes(r.body)
		if r.links > 1 {
			u.files[id] = n
		}
		return u.put(n)
	}
	if len(r.body) > 0 {
		c := first.Clone()
		c.Content = tree.Bytes(r.body)
		u.files[id] = c
		if err := u.t.Put(c); err != nil {
			return err
		}
	}
	n.Link = first.Path
	return u.put(n)
}

// put replaces what is there, as the kernel does. Other names of a replaced
// file keep its content.
func (u *unpacker) put(n *tree.Node) error {
	if n.Path == "." && !n.Mode.IsDir() {
		return errors.New("the root is not a directory")
	}
	if u.t.Get(path.Dir(n.Path)) == nil {
		return errors.New("its directory does not come before it")
	}
	if have := u.t.Get(n.Path); have != nil && have.Mode.IsRegular() {
		u.t.Remove(n.Path)
	}
	return u.t.Put(n)
}

func cleanPath(name string) (string, error) {
	p := strings.TrimPrefix(strings.TrimPrefix(name, "./"), "/")
	if p == "" || p == "." {
		return ".", nil
	}
	if !fs.ValidPath(p) {
		return "", errors.New("path is not clean, relative UTF-8")
	}
	return p, nil
}

package cpio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Write writes t as one archive, padded so that another may follow. The root
// is left out: the kernel has one already. Inode numbers count files in the
// order of the walk; nothing but t decides the bytes.
func Write(w io.Writer, t *tree.Tree) error {
	a := &writer{w: w, left: map[string]uint32{}, links: map[string]uint32{}, inodes: map[string]uint32{}}
	for n := range t.Walk() {
		if n.Mode.IsRegular() {
			a.links[fileOf(n)]++
			a.left[fileOf(n)]++
		}
	}
	for n := range t.Walk() {
		if n.Path == "." {
			continue
		}
		if err := a.add(t, n); err != nil {
			return fmt.Errorf("/%s: %w", n.Path, err)
		}
	}
	if err := a.header(entry{links: 1}, trailer); err != nil {
		return err
	}
	return a.pad(unit)
}

// WriteZstd writes t as an archive compressed for a kernel with RD_ZSTD.
//
// The kernel wants all of an archive in one frame and allocates its window,
// which may be 128 MiB (lib/decompress_unzstd.c): 8 MiB is no burden for a
// small board. The checksum is its only way to notice a damaged file. One
// encoder thread makes equal bytes on every machine.
func WriteZstd(w io.Writer, t *tree.Tree) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	return errors.Join(Write(z, t), z.Close())
}

type writer struct {
	w      io.Writer
	off    int64
	inode  uint32            // given last
	inodes map[string]uint32 // of regular files
	links  map[string]uint32 // number of names of each
	left   map[string]uint32 // those not written yet
}

// fileOf returns what identifies the file of a regular node: the path that
// its hard links name.
func fileOf(n *tree.Node) string {
	if n.IsHardLink() {
		return n.Link
	}
	return n.Path
}

func (a *writer) add(t *tree.Tree, n *tree.Node) error {
	e, err := describe(n)
	if err != nil {
		return err
	}
	if n.Mode.IsRegular() {
		return a.addFile(t, n, e)
	}
	a.inode++
	e.inode = a.inode
	if err := a.header(e, n.Path); err != nil {
		return err
	}
	if err := a.write([]byte(n.Link)); err != nil {
		return err
	}
	return a.pad(4)
}

// describe fills in what a node alone tells.
func describe(n *tree.Node) (entry, error) {
	mode, ok := statMode(n.Mode)
	switch seconds := modTime(n); {
	case !ok:
		return entry{}, fmt.Errorf("an initramfs cannot hold a file of type %v", n.Mode.Type())
	case len(n.Xattrs) > 0:
		return entry{}, errors.New("an initramfs cannot hold extended attributes")
	case len(n.Path) >= pathMax || len(n.Link) >= pathMax:
		return entry{}, errors.New("the kernel skips names this long")
	case n.Path == trailer:
		return entry{}, errors.New("this name ends an initramfs")
	case seconds < 0 || seconds > 1<<32-1:
		return entry{}, fmt.Errorf("modification time %d is outside 1970 to 2106", seconds)
	default:
		e := entry{mode: mode, uid: n.UID, gid: n.GID, links: 1, mtime: uint32(seconds), major: n.Dev.Major, minor: n.Dev.Minor}
		if n.Mode.IsDir() {
			e.links = 2
		}
		if n.Mode&fs.ModeSymlink != 0 {
			e.size = uint32(len(n.Link))
		}
		return e, nil
	}
}

// modTime returns seconds since 1970; the zero Time is 1970.
func modTime(n *tree.Node) int64 {
	if n.ModTime.IsZero() {
		return 0
	}
	return n.ModTime.Unix()
}

// addFile writes one name of a regular file. The content goes with the last
// of several names, as cpio(1) has it; the others have a size of zero.
func (a *writer) addFile(t *tree.Tree, n *tree.Node, e entry) error {
	id := fileOf(n)
	file := t.Get(id)
	if file == nil || file.Content == nil {
		return errors.New("regular file without content")
	}
	if a.inodes[id] == 0 {
		a.inode++
		a.inodes[id] = a.inode
	}
	e.inode, e.links = a.inodes[id], a.links[id]
	if a.left[id]--; a.left[id] > 0 {
		return a.header(e, n.Path)
	}
	if file.Size() > 1<<32-1 {
		return fmt.Errorf("%d bytes are too many for an initramfs", file.Size())
	}
	e.size = uint32(file.Size())
	if err := a.header(e, n.Path); err != nil {
		return err
	}
	return a.content(file.Content)
}

func (a *writer) content(c tree.Content) error {
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(a.w, r)
	a.off += n
	if err != nil {
		return err
	}
	if n != c.Size() {
		return fmt.Errorf("content has %d bytes instead of %d", n, c.Size())
	}
	return a.pad(4)
}

func (a *writer) header(e entry, name string) error {
	e.nameSize = uint32(len(name) + 1)
	b := []byte(magic)
	for _, f := range e.fields() {
		b = fmt.Appendf(b, "%08X", *f)
	}
	if err := a.write(append(append(b, name...), 0)); err != nil {
		return err
	}
	return a.pad(4)
}

func (a *writer) write(b []byte) error {
	n, err := a.w.Write(b)
	a.off += int64(n)
	return err
}

func (a *writer) pad(multiple int64) error {
	return a.write(make([]byte, -a.off&(multiple-1)))
}

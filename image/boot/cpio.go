package boot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// cpioUnit is the multiple to which archives are padded so that another one may follow: the
// block of cpio(1).
const cpioUnit = 512

// writeCpio writes t as one archive for the kernel. It leaves out the root directory, which
// the kernel already has. Inode numbers are counted in Walk's order; the bytes depend only
// on t.
func writeCpio(w io.Writer, t *tree.Tree) error {
	counted := &counter{w: w}
	out := cpio.Newc.Writer(counted)
	inode := uint64(0)
	for n := range t.Walk() {
		if n.Path == "." {
			continue
		}
		inode++
		r, err := cpioRecord(n)
		if err == nil {
			r.Ino = inode
			err = out.WriteRecord(r)
		}
		if err != nil {
			return fmt.Errorf("/%s: %w", n.Path, err)
		}
	}
	if err := out.WriteRecord(cpio.Record{Info: cpio.Info{Name: cpio.Trailer, NLink: 1}}); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, -counted.n&(cpioUnit-1)))
	return err
}

type counter struct {
	w io.Writer
	n int
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += n
	return n, err
}

// cpioRecord refuses what the format or the kernel would silently lose. Our initramfs has
// none of it.
func cpioRecord(n *tree.Node) (cpio.Record, error) {
	info := cpio.Info{
		Name: n.Path, Mode: uint64(n.Mode.Perm()), UID: uint64(n.UID), GID: uint64(n.GID), NLink: 1, MTime: uint64(n.ModTime.Unix()),
		Rmajor: uint64(n.Dev.Major), Rminor: uint64(n.Dev.Minor),
	}
	switch {
	case len(n.Xattrs) > 0 || n.IsHardLink() || n.ModTime.Unix() < 0 || n.Mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0:
		return cpio.Record{}, errors.New("an initramfs has no extended attributes, hard links, set-id bits and times before 1970")
	case n.Mode.IsDir():
		info.Mode, info.NLink = info.Mode|cpio.S_IFDIR, 2
		return cpio.Record{Info: info}, nil
	case n.Mode.Type() == fs.ModeDevice|fs.ModeCharDevice:
		info.Mode |= cpio.S_IFCHR
		return cpio.Record{Info: info}, nil
	case n.Mode.IsRegular():
		info.Mode |= cpio.S_IFREG
		b, err := readAll(n.Path, n.Content)
		return cpio.StaticRecord(b, info), err
	}
	return cpio.Record{}, fmt.Errorf("an initramfs has no file of type %v", n.Mode.Type())
}

// writeZstd writes t as an archive compressed for a kernel with RD_ZSTD.
func writeZstd(w io.Writer, t *tree.Tree) error {
	z, err := codec.Zstd.NewWriter(w)
	if err != nil {
		return err
	}
	return errors.Join(writeCpio(z, t), z.Close())
}

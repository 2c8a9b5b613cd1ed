package boot

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// writeCpio writes t as the kernel unpacks an initramfs: the "newc" format of
// Documentation/driver-api/early-userspace/buffer-format.rst, padded to 512
// bytes so that another archive may follow. Inode numbers count entries; hard
// links, which an initramfs does not have, are refused.
func writeCpio(out *bytes.Buffer, t *tree.Tree) error {
	inode := 0
	for n := range t.Walk() {
		if n.Path == "." {
			continue
		}
		inode++
		if err := writeEntry(out, n, inode); err != nil {
			return fmt.Errorf("/%s: %w", n.Path, err)
		}
	}
	writeHeader(out, &tree.Node{Path: "TRAILER!!!"}, 0, 0, 0)
	padTo(out, 512)
	return nil
}

func writeEntry(out *bytes.Buffer, n *tree.Node, inode int) error {
	switch {
	case n.IsHardLink():
		return fmt.Errorf("hard links are not supported")
	case n.Mode&fs.ModeSymlink != 0:
		writeHeader(out, n, inode, cpioMode(n.Mode), int64(len(n.Link)))
		out.WriteString(n.Link)
	case n.Content != nil:
		writeHeader(out, n, inode, cpioMode(n.Mode), n.Size())
		if err := copyContent(out, n.Content); err != nil {
			return err
		}
	default:
		writeHeader(out, n, inode, cpioMode(n.Mode), 0)
	}
	padTo(out, 4)
	return nil
}

func copyContent(out *bytes.Buffer, c tree.Content) error {
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(out, r)
	if err == nil && n != c.Size() {
		err = fmt.Errorf("has %d bytes instead of %d", n, c.Size())
	}
	return err
}

func writeHeader(out *bytes.Buffer, n *tree.Node, inode int, mode uint32, size int64) {
	links := 1
	if n.Mode.IsDir() {
		links = 2
	}
	var mtime int64
	if !n.ModTime.IsZero() {
		mtime = n.ModTime.Unix()
	}
	fmt.Fprintf(out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, mode, n.UID, n.GID, links, uint32(mtime), size, 0, 0, n.Dev.Major, n.Dev.Minor, len(n.Path)+1, 0, n.Path)
	padTo(out, 4)
}

// cpioMode turns Go's mode bits into those of stat(2).
func cpioMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	switch {
	case m.IsDir():
		mode |= 0o040000
	case m&fs.ModeSymlink != 0:
		mode |= 0o120000
	case m&fs.ModeCharDevice != 0:
		mode |= 0o020000
	case m&fs.ModeDevice != 0:
		mode |= 0o060000
	default:
		mode |= 0o100000
	}
	return mode
}

func padTo(out *bytes.Buffer, unit int) {
	for out.Len()%unit != 0 {
		out.WriteByte(0)
	}
}

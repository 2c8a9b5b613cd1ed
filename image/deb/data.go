package deb

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// entry is a node with the position of its content.
type entry struct {
	node *tree.Node
	file *extent // nil for everything but regular files
}

// extent is a run of bytes in the derived file.
type extent struct {
	off, size int64
	sum       [32]byte
}

// xattrPrefix marks extended attributes in PAX records, as star(1) and GNU
// tar write them.
const xattrPrefix = "SCHILY.xattr."

// dataReader turns the entries of data.tar into nodes and passes the content of regular
// files to store.
type dataReader struct {
	limits limits
	store  func(r io.Reader, size int64) (*extent, error)
	seen   map[string]*tree.Node
	total  int64
}

// read reads a whole tar archive.
func (d *dataReader) read(r io.Reader) ([]entry, error) {
	d.seen = map[string]*tree.Node{}
	var entries []entry
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return entries, drainZeros(r)
		}
		if err != nil {
			return nil, err
		}
		if len(entries) == d.limits.entries {
			return nil, fmt.Errorf("more than %d entries", d.limits.entries)
		}
		e, err := d.entry(h, t)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", h.Name, err)
		}
		entries = append(entries, e)
	}
}

func (d *dataReader) entry(h *tar.Header, content io.Reader) (entry, error) {
	n, err := node(h)
	if err != nil {
		return entry{}, err
	}
	if err := d.place(n); err != nil {
		return entry{}, err
	}
	e := entry{node: n}
	if !n.Mode.IsRegular() || n.IsHardLink() {
		return e, nil
	}
	if d.total += h.Size; d.total > d.limits.data || h.Size > d.limits.data {
		return entry{}, fmt.Errorf("the package unpacks to more than %d bytes", d.limits.data)
	}
	e.file, err = d.store(content, h.Size)
	return e, err
}

// place checks n against the earlier entries.
func (d *dataReader) place(n *tree.Node) error {
	if d.seen[n.Path] != nil {
		return fmt.Errorf("/%s occurs twice", n.Path)
	}
	for dir := path.Dir(n.Path); dir != "."; dir = path.Dir(dir) {
		parent := d.seen[dir]
		if parent != nil && !parent.Mode.IsDir() {
			return fmt.Errorf("/%s lies below /%s, which is not a directory", n.Path, dir)
		}
	}
	if n.IsHardLink() {
		target := d.seen[n.Link]
		if target == nil || !target.Mode.IsRegular() {
			return fmt.Errorf("hard link to /%s, which is not an earlier file of the package", n.Link)
		}
		share(n, target)
	}
	d.seen[n.Path] = n
	return nil
}

// share makes n another name of target's file: an inode has only one owner, mode and time,
// whatever the header of the link says.
func share(n, target *tree.Node) {
	p := n.Path
	*n = *target
	n.Path = p
	if !target.IsHardLink() {
		n.Link = target.Path
	}
}

// node converts a tar header into a node without content.
func node(h *tar.Header) (*tree.Node, error) {
	p, err := cleanPath(h.Name)
	if err != nil {
		return nil, err
	}
	n := &tree.Node{Path: p, Mode: permissions(h.Mode)}
	if err := setType(n, h); err != nil {
		return nil, err
	}
	if n.UID, n.GID, err = owner(h); err != nil {
		return nil, err
	}
	if n.ModTime, err = modTime(h.ModTime); err != nil {
		return nil, err
	}
	if n.Xattrs, err = xattrs(h.PAXRecords); err != nil {
		return nil, err
	}
	if p == "." && h.Typeflag != tar.TypeDir {
		return nil, fmt.Errorf("the root is not a directory")
	}
	return n, nil
}

func setType(n *tree.Node, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return nil
	case tar.TypeDir:
		n.Mode |= fs.ModeDir
		return nil
	case tar.TypeSymlink:
		if h.Linkname == "" || strings.ContainsRune(h.Linkname, 0) {
			return fmt.Errorf("bad symbolic link target %q", h.Linkname)
		}
		n.Mode |= fs.ModeSymlink
		n.Link = h.Linkname
		return nil
	case tar.TypeLink:
		var err error
		if n.Link, err = cleanPath(h.Linkname); err != nil {
			return fmt.Errorf("hard link: %w", err)
		}
		return nil
	case tar.TypeChar, tar.TypeBlock:
		return fmt.Errorf("device nodes do not belong in packages")
	case tar.TypeFifo:
		return fmt.Errorf("FIFOs do not belong in packages")
	}
	return fmt.Errorf("tar entry type %q is not supported", h.Typeflag)
}

// cleanPath turns the name of a tar entry, "./usr/bin/" or "usr/bin", into a path of a
// tree. It accepts only these two forms: no packaging tool makes names that need more
// cleaning.
func cleanPath(name string) (string, error) {
	p := strings.TrimPrefix(name, "./")
	p = strings.TrimSuffix(p, "/")
	if name == "./" || name == "." {
		return ".", nil
	}
	if strings.HasPrefix(name, "/") {
		return "", fmt.Errorf("absolute path %q", name)
	}
	if p == "." || !fs.ValidPath(p) || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("path %q is not clean, relative UTF-8", name)
	}
	return p, nil
}

// permissions converts the lower twelve bits of st_mode; it ignores type bits, which some
// tools write.
func permissions(mode int64) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

func owner(h *tar.Header) (uid, gid uint32, err error) {
	const most = 1<<32 - 2 // (uid_t)-1 means "no change" to chown(2)
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > most || int64(h.Gid) > most {
		return 0, 0, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	return uint32(h.Uid), uint32(h.Gid), nil
}

// modTime truncates t to seconds, and refuses times that the image's formats cannot
// represent.
func modTime(t time.Time) (time.Time, error) {
	if s := t.Unix(); s < 0 || s > 1<<32-1 {
		return time.Time{}, fmt.Errorf("modification time %d is outside 1970 to 2106", s)
	}
	return time.Unix(t.Unix(), 0).UTC(), nil
}

func xattrs(records map[string]string) (map[string][]byte, error) {
	var out map[string][]byte
	for k, v := range records {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok {
			continue
		}
		if name == "" || len(name) > 255 || len(v) > 64<<10 { // xattr(7)
			return nil, fmt.Errorf("bad extended attribute %q of %d bytes", name, len(v))
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = []byte(v)
	}
	return out, nil
}

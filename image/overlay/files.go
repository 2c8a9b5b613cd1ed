package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// addFiles adds the files below files/. Empty directories are ignored, because neither git
// nor go:embed keeps them.
func (l *loader) addFiles(fsys fs.FS) error {
	root := path.Join(l.name, "files")
	err := fs.WalkDir(fsys, root, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && p == root && errors.Is(err, fs.ErrNotExist):
			return fs.SkipAll
		case err != nil:
			return err
		case e.IsDir() || e.Name() == ".DS_Store": // macOS puts .DS_Store into every directory it shows
			return nil
		case !e.Type().IsRegular():
			return fmt.Errorf("%s: only plain files can stand here; declare links and directories in overlay.yaml", p)
		}
		return l.addFile(fsys, p, strings.TrimPrefix(p, root+"/"))
	})
	if err != nil {
		return fmt.Errorf("overlay %s: %w", l.name, err)
	}
	return nil
}

// refuseLinks refuses symbolic links at overlay.yaml and files/. Following them, an overlay
// from elsewhere could bring files of this machine into an image, and DirHash, which skips
// links, would not cover them.
func refuseLinks(fsys fs.FS, paths ...string) error {
	for _, p := range paths {
		entries, err := fs.ReadDir(fsys, path.Dir(p))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() == path.Base(p) && e.Type()&fs.ModeSymlink != 0 {
				return fmt.Errorf("overlay %s: is a symbolic link; put what it leads to itself there", p)
			}
		}
	}
	return nil
}

func (l *loader) addFile(fsys fs.FS, from, to string) error {
	content, head, err := openContent(fsys, from)
	if err != nil {
		return err
	}
	m, explicit := l.file.Modes["/"+to]
	if !explicit && isProgram(head) {
		return fmt.Errorf("%s: is a program: give it a mode in overlay.yaml, modes: {/%s: \"0755\"}", from, to)
	}
	m = m.or(0o644)
	n := &tree.Node{Path: to, Mode: m.perm, Content: content}
	if n.UID, n.GID, err = l.owner(m); err != nil {
		return l.doc.Errorf([]string{"modes", "/" + to}, "%s", err)
	}
	return l.put(n)
}

func isProgram(head []byte) bool {
	return bytes.HasPrefix(head, []byte("#!")) || bytes.HasPrefix(head, []byte("\x7fELF"))
}

// fileContent is a file of an overlay. It is read again each time it is needed.
type fileContent struct {
	fsys fs.FS
	name string
	size int64
	sum  string
}

// openContent reads a file to get its digest and its first bytes.
func openContent(fsys fs.FS, name string) (c *fileContent, head []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	head = make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	head = head[:n]
	h := sha256.New()
	h.Write(head)
	rest, err := io.Copy(h, f)
	if err != nil {
		return nil, nil, err
	}
	return &fileContent{fsys: fsys, name: name, size: int64(n) + rest, sum: hex.EncodeToString(h.Sum(nil))}, head, nil
}

func (c *fileContent) Size() int64    { return c.size }
func (c *fileContent) SHA256() string { return c.sum }

func (c *fileContent) Open() (io.ReadCloser, error) {
	f, err := c.fsys.Open(c.name)
	if err != nil {
		return nil, err
	}
	return &verifiedReader{f: f, c: c, h: sha256.New()}, nil
}

// verifiedReader returns an error if the file has changed since the overlay was loaded: the
// image would not match its manifest.
type verifiedReader struct {
	f fs.File
	c *fileContent
	h hash.Hash
	n int64
}

func (r *verifiedReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	r.h.Write(p[:n])
	r.n += int64(n)
	if r.n > r.c.size || errors.Is(err, io.EOF) && hex.EncodeToString(r.h.Sum(nil)) != r.c.sum {
		return 0, fmt.Errorf("%s changed during the build: build again", r.c.name)
	}
	return n, err
}

func (r *verifiedReader) Close() error { return r.f.Close() }

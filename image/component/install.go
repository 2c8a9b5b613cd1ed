package component

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func base(p string) string { return path.Base(p) }

// install turns a downloaded or local file into nodes.
func (q *request) install(ctx context.Context, file tree.Content, d download, from Source) (*Resolved, error) {
	d.size = file.Size()
	format, err := q.formatOf(file)
	if err != nil {
		return nil, err
	}
	r := q.resolved(d, from, format)
	if slices.ContainsFunc(r.layout.Files, func(f File) bool { return f.Archive }) {
		ending, err := endingOf(file)
		if err != nil {
			return nil, err
		}
		r.layout = r.layout.called(r.SHA256, ending)
	}
	if q.Chart != "" {
		if err := q.checkChart(ctx, file); err != nil {
			return nil, err
		}
	}
	for _, f := range r.layout.Files {
		content := file
		if format == "tgz" {
			if content, err = q.member(ctx, file, f.Member); err != nil {
				return nil, err
			}
		}
		if f.Program {
			if err := checkProgram(content, q.arch); err != nil {
				return nil, err
			}
		}
		r.Nodes = append(r.Nodes, &tree.Node{Path: f.Path, Mode: f.mode(), Content: content, Source: q.source(r)})
	}
	q.addLinks(r)
	return r, nil
}

// formatOf tells an archive from a bare program by the first bytes, because the user may
// give either.
func (q *request) formatOf(file tree.Content) (string, error) {
	f, err := file.Open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	magic := make([]byte, 2)
	if _, err := io.ReadFull(f, magic); err != nil {
		return "", errors.New("is empty")
	}
	if q.Format == "tgz" && !bytes.Equal(magic, []byte{0x1f, 0x8b}) { // RFC 1952, section 2.3.1
		return "binary", nil
	}
	return q.Format, nil
}

func (q *request) source(r *Resolved) string { return "component " + r.Name + " " + r.Version }

func (q *request) addLinks(r *Resolved) {
	for _, l := range r.layout.Links {
		r.Nodes = append(r.Nodes, q.link(l, r))
	}
}

func (q *request) link(l Link, r *Resolved) *tree.Node {
	return &tree.Node{Path: l.Path, Mode: fs.ModeSymlink | 0o777, Link: l.Target, Source: q.source(r)}
}

// member unpacks one file of an archive into the cache.
func (q *request) member(ctx context.Context, archive tree.Content, name string) (tree.Content, error) {
	return q.cache.Derive(ctx, kind, archive.SHA256()+"-"+name, func(w io.Writer) error {
		f, err := archive.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unpack(f, name, w); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, f) // the digest is checked at the end of the file
		return err
	})
}

// kind is the kind of cache entries that this package unpacks or builds.
const kind = "component"

// unpack writes the regular file with this base name, in whatever directory, to w.
func unpack(r io.Reader, name string, w io.Writer) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the archive has no file %s", name)
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg && path.Base(h.Name) == name {
			_, err := io.Copy(w, t)
			return err
		}
	}
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkProgram refuses a program that the image's processor cannot run.
func checkProgram(c tree.Content, arch string) error {
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	head := make([]byte, 20) // e_ident and e_machine, elf(5)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:4]) != elf.ELFMAG {
		return fmt.Errorf("is not a Linux program (ELF)")
	}
	if got := elf.Machine(uint16(head[18]) | uint16(head[19])<<8); got != machines[arch] {
		return fmt.Errorf("is a program for %s, the image is for %s", archName(got), arch)
	}
	return nil
}

func archName(m elf.Machine) string {
	for name, known := range machines {
		if known == m {
			return name
		}
	}
	return m.String()
}

package oci

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Contents is the result of checking an archive.
type Contents struct {
	SHA256 string // of the whole archive
	// Layout says that the archive is an OCI layout; if it is not, that is a problem.
	Layout bool
	Images []Entry
	// Problems lists what is wrong with the archive. containerd silently imports an archive
	// that lacks a layer, and pods fail later.
	Problems []string
}

// Entry is an image in an archive.
type Entry struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size,omitempty"` // bytes of its blobs; 0 if they were not checked
}

func entry(d v1.Descriptor) Entry {
	return Entry{Name: d.Annotations[nameAnnotation], Digest: d.Digest.String()}
}

// Names returns the images that an OCI layout names, without checking them; it reads no
// further than necessary. An archive of another format has no names. The error is that of
// reading r.
func Names(r io.Reader) (list []Entry, err error) {
	in := &tee{r: r, h: io.Discard}
	var index []byte
	layout := false
	for t := tar.NewReader(in); index == nil || !layout; {
		h, err := t.Next()
		if err != nil { // the end of the archive, or something that is not tar
			break
		}
		switch path.Clean(h.Name) {
		case layoutFile:
			layout = true
		case indexFile:
			index, _ = io.ReadAll(io.LimitReader(t, maxDocument)) // in remembers a read error
		}
	}
	var doc v1.IndexManifest
	if in.err != nil || !layout || json.Unmarshal(index, &doc) != nil {
		return nil, in.err
	}
	for _, d := range doc.Manifests {
		list = append(list, entry(d))
	}
	return list, nil
}

// found is a blob of an archive. text is its content if it may be a manifest.
type found struct {
	size int64
	text []byte
	doc  func() (*document, error) // parses text, once for all references to it
}

// Bounds for an archive that is checked, which may be hostile.
const (
	maxTexts    = 64 << 20 // bytes of its manifests
	maxLeads    = 1 << 20  // references that are followed; blobs seldom refer to each other often
	maxProblems = 1000     // problems that are listed
)

// Check reads an archive to its end and checks whether every image is complete: all blobs
// exist, each with its digest and size. The error is that of reading r.
func Check(r io.Reader) (*Contents, error) {
	h := sha256.New()
	c := &checker{in: &tee{r: r, h: h}, blobs: map[string]found{}}
	c.read()
	// Also hash what follows the last file, or what is no tar any more.
	if _, err := io.Copy(io.Discard, c.in); err != nil {
		return nil, err
	}
	if c.in.err != nil {
		return nil, c.in.err
	}
	c.SHA256 = hex.EncodeToString(h.Sum(nil))
	if !c.Layout {
		c.problem("it has no %s", layoutFile)
		return &c.Contents, nil
	}
	c.closure()
	return &c.Contents, nil
}

// tee hashes what is read and remembers a read error, which package tar would report as its
// own.
type tee struct {
	r   io.Reader
	h   io.Writer
	err error
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.h.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}

type checker struct {
	Contents
	in    *tee
	blobs map[string]found // by the digest in the file's name
	texts int64
	leads int
	index []byte
}

func (c *checker) problem(format string, args ...any) {
	switch n := len(c.Problems); {
	case n < maxProblems:
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	case n == maxProblems:
		c.Problems = append(c.Problems, "and more")
	}
}

func (c *checker) read() {
	for t := tar.NewReader(c.in); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			c.problem("it is damaged: %v", err)
			return
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		// Clean the name, as containerd does: some tars have names that begin with "./".
		if err := c.file(path.Clean(h.Name), h.Size, t); err != nil {
			c.problem("%s is damaged: %v", h.Name, err)
			return
		}
	}
}

func (c *checker) file(name string, length int64, r io.Reader) error {
	sum := sha256.New()
	text, err := c.text(length, io.TeeReader(r, sum))
	if err != nil {
		return err
	}
	size, err := io.Copy(sum, r)
	if err != nil {
		return err
	}
	switch name {
	case layoutFile:
		c.Layout = true
	case indexFile:
		c.index = text
	}
	digest, ok := strings.CutPrefix(name, blobDir)
	if !ok {
		return nil
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		c.problem("%s is damaged: its digest is %s", name, got)
		return nil
	}
	c.blobs[digest] = found{size + int64(len(text)), text, sync.OnceValues(func() (*document, error) { return parse(text) })}
	return nil
}

// text returns the content if it may be a manifest, which begins with a brace as no layer
// does; of anything else it returns the first byte, if there is one.
func (c *checker) text(size int64, r io.Reader) ([]byte, error) {
	first, err := io.ReadAll(io.LimitReader(r, 1))
	if err != nil || string(first) != "{" || size > maxDocument || c.texts+size > maxTexts {
		return first, err
	}
	c.texts += size
	rest, err := io.ReadAll(r)
	return append(first, rest...), err
}

// closure follows every name down to its layers.
func (c *checker) closure() {
	var index v1.IndexManifest
	if err := json.Unmarshal(c.index, &index); err != nil || len(index.Manifests) == 0 {
		c.problem("its %s names no image (%v)", indexFile, err)
		return
	}
	for _, d := range index.Manifests {
		e := entry(d)
		if e.Name == "" {
			c.problem("%s has no name, so nothing finds it", d.Digest)
			e.Name = e.Digest
		}
		for _, b := range c.follow(e.Name, lead{d, manifest}) {
			e.Size += b
		}
		c.Images = append(c.Images, e)
	}
	if c.leads > maxLeads {
		c.problem("its images name more than %d things, so not all was looked at", maxLeads)
	}
}

type lead struct {
	v1.Descriptor
	what string
}

// What a reference to a document is called in problems.
const (
	manifest = "manifest" // or an index
	platform = "platform" // of an index
)

// follow checks everything that l leads to, and returns the sizes of the blobs by digest.
func (c *checker) follow(name string, l lead) map[string]int64 {
	sizes := map[string]int64{}
	if c.leads++; c.leads > maxLeads {
		return sizes
	}
	b, ok := c.blobs[l.Digest.Hex]
	switch {
	case !ok:
		c.problem("%s: its %s %s is missing", name, l.what, l.Digest)
		return sizes
	case b.size != l.Size:
		c.problem("%s: its %s %s has %d bytes instead of %d", name, l.what, l.Digest, b.size, l.Size)
	}
	sizes[l.Digest.Hex] = b.size
	if l.what == manifest || l.what == platform {
		for _, next := range c.next(name, l, b) {
			maps.Copy(sizes, c.follow(name, next))
		}
	}
	return sizes
}

// next lists the references in a document. For an index these are the platforms whose
// manifests are in the archive. An index inside an index is a problem and not followed: it
// could refer to blobs repeatedly without end.
func (c *checker) next(name string, l lead, b found) (all []lead) {
	doc, err := b.doc()
	switch {
	case err != nil:
		c.problem("%s: %s %v", name, l.Digest, err)
	case doc.Config != nil:
		all = append(all, lead{*doc.Config, "config"})
		for _, d := range doc.Layers {
			all = append(all, lead{d, "layer"})
		}
	case l.what == platform:
		c.problem("%s: its %s %s is an index inside the index, which is not looked into", name, l.what, l.Digest)
	default:
		all = c.platforms(name, doc)
	}
	return all
}

func (c *checker) platforms(name string, index *document) (all []lead) {
	for _, m := range index.Manifests {
		if b, ok := c.blobs[m.Digest.Hex]; ok && m.MediaType.IsImage() && b.text != nil {
			all = append(all, lead{m, platform})
		}
	}
	if len(all) == 0 {
		c.problem("%s: none of the platforms of its index is there (%s)", name, index.platforms())
	}
	return all
}

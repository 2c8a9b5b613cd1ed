package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// nameAnnotation is by which containerd's importer names an image of an index.
const nameAnnotation = "io.containerd.image.name"

const (
	layoutFile = "oci-layout"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
	indexFile  = "index.json"
	blobDir    = "blobs/sha256/"
)

// Archive is an OCI layout in a tar, as a tree.Content: put together each time
// that it is read, from the cache, every blob checked on the way. It takes no
// room of its own and no memory.
type Archive struct {
	parts []part
	size  int64
	sum   string
}

// part is a run of bytes: some in memory, or a file of the cache.
type part struct {
	data []byte
	file *fetch.File
}

func (p part) size() int64 {
	if p.file != nil {
		return p.file.Size()
	}
	return int64(len(p.data))
}

// NewArchive makes an archive of images. The same images give the same bytes in
// any order.
func NewArchive(ctx context.Context, cache *fetch.Cache, images []*Image) (*Archive, error) {
	index, err := indexOf(images)
	if err != nil {
		return nil, err
	}
	var blobs []blob
	for _, img := range images {
		blobs = append(blobs, img.blobs...)
	}
	if blobs, err = distinct(blobs); err != nil {
		return nil, err
	}
	slices.SortFunc(blobs, func(a, b blob) int { return strings.Compare(a.digest, b.digest) })
	a := &Archive{}
	err = errors.Join(a.add(layoutFile, part{data: []byte(layoutText)}), a.add(indexFile, part{data: index}))
	for _, b := range blobs {
		err = errors.Join(err, a.add(blobDir+b.digest, part{file: b.file}))
	}
	if err != nil {
		return nil, err
	}
	a.put(part{data: make([]byte, 2*block)})
	return a, a.digest(ctx, cache)
}

// indexOf is index.json: a descriptor for every name, with the bytes that the
// registry has under that name unchanged.
func indexOf(images []*Image) ([]byte, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, img := range images {
		digest, err := v1.NewHash(img.Digest)
		if err != nil {
			return nil, err
		}
		index.Manifests = append(index.Manifests, v1.Descriptor{
			MediaType: types.MediaType(img.media), Size: img.blobs[0].size, Digest: digest,
			Annotations: map[string]string{nameAnnotation: img.Name},
		})
	}
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int {
		return strings.Compare(a.Annotations[nameAnnotation], b.Annotations[nameAnnotation])
	})
	return json.Marshal(index)
}

// block is tar's, in bytes.
const block = 512

// add appends one regular file: header, content, padding.
func (a *Archive) add(name string, content part) error {
	var head bytes.Buffer
	err := tar.NewWriter(&head).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: content.size(), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	a.put(part{data: head.Bytes()})
	a.put(content)
	a.put(part{data: make([]byte, -content.size()&(block-1))})
	return nil
}

func (a *Archive) put(p part) {
	a.parts = append(a.parts, p)
	a.size += p.size()
}

// digest learns the archive's sha256. What the parts are decides it, so it is
// computed once for them.
func (a *Archive) digest(ctx context.Context, cache *fetch.Cache) error {
	key := sha256.New()
	for _, p := range a.parts {
		if p.file != nil {
			fmt.Fprintf(key, "file %s\n", p.file.SHA256())
		}
		fmt.Fprintf(key, "data %d\n%s", len(p.data), p.data)
	}
	sum, err := cache.Remember(ctx, "images", hex.EncodeToString(key.Sum(nil)), func() ([]byte, error) {
		r, err := a.Open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		sum, err := digestOf(r)
		return []byte(sum), errors.Join(err, ctx.Err())
	})
	a.sum = string(sum)
	return err
}

// digestOf hashes what it reads while the next is being read: reading hashes too,
// part by part.
func digestOf(r io.Reader) (string, error) {
	const buffers = 4
	full, empty := make(chan []byte, buffers), make(chan []byte, buffers)
	for range buffers {
		empty <- make([]byte, 256<<10)
	}
	sum := make(chan string)
	go func() {
		h := sha256.New()
		for b := range full {
			h.Write(b)
			empty <- b[:cap(b)]
		}
		sum <- hex.EncodeToString(h.Sum(nil))
	}()
	var err error
	for err == nil {
		b := <-empty
		var n int
		n, err = io.ReadFull(r, b)
		full <- b[:n]
	}
	close(full)
	if err == io.EOF || err == io.ErrUnexpectedEOF { // of ReadFull: a damaged file's is wrapped
		err = nil
	}
	return <-sum, err
}

// Size is the length in bytes.
func (a *Archive) Size() int64 { return a.size }

// SHA256 is the digest of the whole archive.
func (a *Archive) SHA256() string { return a.sum }

// ChecksItself is true of every part: tree.Checked.
func (a *Archive) ChecksItself() {}

// Open returns the archive from its beginning.
func (a *Archive) Open() (io.ReadCloser, error) { return &reader{rest: a.parts}, nil }

// reader goes from part to part and has one file open at most.
type reader struct {
	rest []part
	now  io.Reader
	file io.Closer
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.now == nil {
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.now.Read(p)
		if errors.Is(err, io.EOF) {
			r.now, err = nil, r.Close()
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

func (r *reader) next() error {
	if len(r.rest) == 0 {
		return io.EOF
	}
	p := r.rest[0]
	r.rest = r.rest[1:]
	if p.file == nil {
		r.now = bytes.NewReader(p.data)
		return nil
	}
	f, err := p.file.Open()
	if err != nil {
		return err
	}
	r.now, r.file = f, f
	return nil
}

// Close closes what is open.
func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

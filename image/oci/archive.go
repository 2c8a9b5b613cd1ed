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

// nameAnnotation is the annotation from which containerd's importer takes the name of an
// image.
const nameAnnotation = "io.containerd.image.name"

const (
	layoutFile = "oci-layout"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
	indexFile  = "index.json"
	blobDir    = "blobs/sha256/"
)

// Archive is an OCI layout in a tar file, as a tree.Content. It is assembled from the cache
// each time it is read, and every blob is verified. It needs no disk space and no memory of
// its own.
type Archive struct {
	parts []part
	size  int64
	sum   string
}

// part is a run of bytes: in memory, or a file of the cache.
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

// NewArchive makes an archive of images. The same images give the same bytes, whatever
// their order.
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

// indexOf returns index.json: a descriptor for every name, which refers to the same bytes
// that the registry has under that name.
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

// block is the block size of tar, in bytes.
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

// digest computes the archive's sha256. It is determined by the parts, so it is computed
// only once for the same parts.
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

// digestOf hashes what it has read while it reads on: r itself hashes as well, part by part, so
// that the two run in parallel.
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
	if err == io.EOF || err == io.ErrUnexpectedEOF { // from ReadFull; for a damaged file these errors are wrapped
		err = nil
	}
	return <-sum, err
}

// Size is the length of the archive in bytes.
func (a *Archive) Size() int64 { return a.size }

// SHA256 is the digest of the whole archive.
func (a *Archive) SHA256() string { return a.sum }

// ChecksItself marks Archive as tree.Checked: every part is verified while it is read.
func (a *Archive) ChecksItself() {}

// Open returns a reader at the beginning of the archive.
func (a *Archive) Open() (io.ReadCloser, error) { return &reader{rest: a.parts}, nil }

// reader reads the parts one after the other; it has at most one file open.
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

// Close closes the open file, if there is one.
func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

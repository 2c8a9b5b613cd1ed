// Package oci brings container images into a disk image: it pins them by
// digest, fetches what one architecture needs of them, and makes one archive of
// all, from which k3s fills containerd before it starts a pod.
//
//	references ─Resolve→ digests, for the lock ─Pull→ blobs in the cache ─NewArchive→ content
//
// Registries are asked by the OCI distribution-spec (v1.1). The archive is an
// image layout of the OCI image-spec (v1.1: image-layout.md, image-index.md,
// manifest.md) in a plain USTAR tar. What the importers want besides, k3s (1.36)
// and containerd (1.6 and 2.3), was tried with them:
//
//   - index.json names every image by the annotation io.containerd.image.name,
//     spelled in full and with a tag: k3s stops at a name without one, the archive
//     half imported.
//   - Under a name stands what the registry has there, an index mostly, byte for
//     byte: by its digest, too, a pod finds the image. What "docker save" writes
//     gets new digests on its way in.
//   - Of an index the one platform of the board is there, with its config and
//     layers: k3s skips what is missing. It skips a damaged layer as silently, and
//     the pod fails later: so all is checked while it is copied, and Check follows
//     each name to its last layer.
//   - Every blob is there once, sorted, of time 0 and 0:0: the same images are the
//     same bytes, and k3s passes over an archive that it knows.
//   - Nothing is compressed again: layers are, and so is the root.
//
// The package refuses tags from a mirror, registries without TLS (but on this
// computer), images of another architecture, and what does not have its digest.
// It unpacks nothing and runs nothing.
package oci

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// Options of Resolve and Pull.
type Options struct {
	// Arch is Debian's name, which for ours is OCI's too.
	Arch string
	// Mirror is the base address of a registry that is asked first, for bytes
	// and never for what a tag means.
	Mirror string
	// Room is how many bytes all images may have together; 0 for any number.
	Room     int64
	Progress progress.Reporter
}

// Image is one image with all that its architecture needs, in the cache.
type Image struct {
	reference.Reference
	// Size is that of its blobs in bytes, as they are compressed.
	Size  int64
	media string
	blobs []blob // the named index or manifest first
}

type blob struct {
	digest string // hex
	size   int64
	file   *fetch.File
}

// parallel downloads, of one registry mostly: as many as Docker's and
// containerd's own clients do twice over.
const parallel = 6

type puller struct {
	cache *fetch.Cache
	opt   Options

	mu      sync.Mutex
	sources map[string][]*source // by repository: the mirror, the registry itself
}

func newPuller(cache *fetch.Cache, opt Options) (*puller, error) {
	if err := CheckMirror(opt.Mirror); err != nil {
		return nil, err
	}
	if opt.Progress == nil {
		opt.Progress = progress.Discard
	}
	return &puller{cache: cache, opt: opt, sources: map[string][]*source{}}, nil
}

// of returns where to look for an image, the registry itself last.
func (p *puller) of(r reference.Reference) ([]*source, error) {
	repo, err := r.Repository()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if list, ok := p.sources[repo.Name()]; ok {
		return list, nil
	}
	var list []*source
	if p.opt.Mirror != "" {
		m, err := p.mirror(repo, r.Registry())
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	up, err := p.upstream(repo)
	if err != nil {
		return nil, err
	}
	p.sources[repo.Name()] = append(list, up)
	return p.sources[repo.Name()], nil
}

// Resolve returns the references with their digests. Those that have none are
// looked up, each once, at the registry itself: what the tag means later does
// not matter any more.
func Resolve(ctx context.Context, cache *fetch.Cache, refs []reference.Reference, opt Options) ([]reference.Reference, error) {
	p, err := newPuller(cache, opt)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(refs)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range out {
		if out[i].Digest != "" {
			continue
		}
		g.Go(func() error {
			digest, err := p.lookUp(ctx, out[i])
			if err != nil {
				return fmt.Errorf("image %s: %w", out[i].Name, p.advice(out[i], err))
			}
			out[i].Digest = digest
			return nil
		})
	}
	return out, g.Wait()
}

// lookUp reads what a tag stands for now. The digest is ours, of what came, not
// what the registry says of it.
func (p *puller) lookUp(ctx context.Context, r reference.Reference) (string, error) {
	list, err := p.of(r)
	if err != nil {
		return "", err
	}
	s := list[len(list)-1]
	file, err := p.cache.GetIndex(ctx, fetch.IndexRequest{Name: r.Name, URL: s.manifest(r.Tag()), Limit: maxDocument, Via: s}, p.opt.Progress)
	if err != nil {
		return "", err
	}
	return "sha256:" + file.SHA256(), nil
}

// Pull brings all images into the cache. It knows how large they are, and that
// they suit the architecture, before it fetches the first layer.
func Pull(ctx context.Context, cache *fetch.Cache, refs []reference.Reference, opt Options) ([]*Image, error) {
	p, err := newPuller(cache, opt)
	if err != nil {
		return nil, err
	}
	images := make([]*Image, len(refs))
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, r := range refs {
		g.Go(func() (err error) {
			images[i], err = p.describe(group, r)
			if err != nil {
				err = fmt.Errorf("image %s: %w", r.Name, p.advice(r, err))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := checkRoom(images, opt.Room); err != nil {
		return nil, err
	}
	return images, p.layers(ctx, images)
}

// describe reads an image's manifests and config, and lists its layers.
func (p *puller) describe(ctx context.Context, r reference.Reference) (*Image, error) {
	top := strings.TrimPrefix(r.Digest, "sha256:")
	d, file, err := p.document(ctx, r, top, 0)
	if err != nil {
		return nil, err
	}
	img := &Image{Reference: r, media: string(d.MediaType), blobs: []blob{{top, file.Size(), file}}}
	if d.Config == nil {
		if d, file, err = p.choose(ctx, r, d); err != nil {
			return nil, err
		}
		img.blobs = append(img.blobs, blob{file.SHA256(), file.Size(), file})
	} else if err := p.suited(ctx, r, d); err != nil {
		return nil, err
	}
	for _, l := range append([]v1.Descriptor{*d.Config}, d.Layers...) {
		img.blobs = append(img.blobs, blob{digest: l.Digest.Hex, size: l.Size})
	}
	img.blobs, err = distinct(img.blobs)
	for _, b := range img.blobs {
		img.Size += b.size
	}
	return img, err
}

// distinct leaves out what an image names twice, as it does an empty layer.
func distinct(all []blob) ([]blob, error) {
	sizes := map[string]int64{}
	var out []blob
	for _, b := range all {
		size, have := sizes[b.digest]
		switch {
		case !have:
			sizes[b.digest] = b.size
			out = append(out, b)
		case size != b.size:
			return nil, fmt.Errorf("sha256:%s is said to have %d bytes and %d", b.digest, size, b.size)
		}
	}
	return out, nil
}

// choose returns the manifest of an index that is for the board.
func (p *puller) choose(ctx context.Context, r reference.Reference, index *document) (*document, *fetch.File, error) {
	for _, m := range index.candidates(p.opt.Arch) {
		d, file, err := p.document(ctx, r, m.Digest.Hex, m.Size)
		switch {
		case err != nil:
			return nil, nil, err
		case d.Config == nil:
			return nil, nil, fmt.Errorf("its index names %s as an image, which is an index", m.Digest)
		}
		err = p.suited(ctx, r, d)
		if err == nil {
			return d, file, nil
		}
		if m.Platform != nil { // it was said to be the one
			return nil, nil, fmt.Errorf("its index is wrong about %s, which %w", m.Digest, err)
		}
	}
	return nil, nil, &ArchError{Want: p.opt.Arch, Have: index.platforms()}
}

// suited reads an image's config, which says for what it was built.
func (p *puller) suited(ctx context.Context, r reference.Reference, d *document) error {
	if d.Config.Size > maxDocument {
		return fmt.Errorf("its config has %d bytes; %d are usual at most", d.Config.Size, maxDocument)
	}
	file, err := p.blob(ctx, r, d.Config.Digest.Hex, d.Config.Size, "config of ")
	if err != nil {
		return err
	}
	data, err := file.Bytes()
	if err != nil {
		return err
	}
	return checkConfig(data, p.opt.Arch)
}

// document fetches an index or a manifest. size is 0 where nobody said it.
func (p *puller) document(ctx context.Context, r reference.Reference, digest string, size int64) (*document, *fetch.File, error) {
	if size > maxDocument {
		return nil, nil, fmt.Errorf("its manifest has %d bytes; registries take %d at most", size, maxDocument)
	}
	file, err := p.get(ctx, r, fetch.Request{Name: "manifest of " + r.Name, SHA256: digest, Size: size, Limit: maxDocument},
		func(s *source) string { return s.manifest("sha256:" + digest) })
	if err != nil {
		return nil, nil, err
	}
	data, err := file.Bytes()
	if err != nil {
		return nil, nil, err
	}
	d, err := parse(data)
	return d, file, err
}

func (p *puller) blob(ctx context.Context, r reference.Reference, digest string, size int64, what string) (*fetch.File, error) {
	return p.get(ctx, r, fetch.Request{Name: what + r.Name, SHA256: digest, Size: size},
		func(s *source) string { return s.blob("sha256:" + digest) })
}

func (p *puller) get(ctx context.Context, r reference.Reference, q fetch.Request, at func(*source) string) (*fetch.File, error) {
	list, err := p.of(r)
	if err != nil {
		return nil, err
	}
	q.Via = map[string]http.RoundTripper{}
	for _, s := range list {
		q.URLs = append(q.URLs, at(s))
		q.Via[at(s)] = s
	}
	return p.cache.Get(ctx, q, p.opt.Progress)
}

// layers fetches what is not there yet, several at a time, the largest first.
func (p *puller) layers(ctx context.Context, images []*Image) error {
	type piece struct {
		of *Image
		*blob
	}
	var todo []piece
	for _, img := range images {
		for i := range img.blobs {
			if img.blobs[i].file == nil {
				todo = append(todo, piece{img, &img.blobs[i]})
			}
		}
	}
	slices.SortStableFunc(todo, func(a, b piece) int { return cmp.Compare(b.size, a.size) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, b := range todo {
		g.Go(func() (err error) {
			if b.file, err = p.blob(ctx, b.of.Reference, b.digest, b.size, "layer of "); err != nil {
				err = fmt.Errorf("image %s: %w", b.of.Name, p.advice(b.of.Reference, err))
			}
			return err
		})
	}
	return g.Wait()
}

// Package oci adds container images to a disk image: it pins them by digest, downloads what
// one architecture needs of them, and makes one archive of all, from which k3s fills
// containerd before it starts a pod.
//
//	references ─Resolve→ digests, for the lock ─Pull→ blobs in the cache ─NewArchive→ content
//
// Registries are accessed by the OCI distribution-spec (v1.1). The archive is an image
// layout of the OCI image-spec (v1.1: image-layout.md, image-index.md, manifest.md) in a
// plain USTAR tar. The following requirements of the importers were found by experiment
// with k3s (1.36) and containerd (1.6 and 2.3):
//
//   - index.json names every image by the annotation io.containerd.image.name, in full and
//     with a tag: k3s stops at a name without a tag, with the archive half imported.
//   - A name refers to what the registry has under that name, usually an index, byte for
//     byte. So a pod also finds the image by its digest. "docker save", by contrast,
//     writes images that get new digests on import.
//   - Of an index, only the board's platform is in the archive, with its config and
//     layers: k3s skips what is missing. It skips a damaged layer as silently, and the pod
//     fails later. That is why every blob is verified while it is copied, and why Check
//     follows each name down to its layers.
//   - Every blob is in the archive once, sorted, with time 0 and owner 0:0: the same
//     images give the same bytes, and k3s does not import an archive again that it knows.
//   - Nothing is compressed again: layers already are, and so is the root.
//
// The package refuses tags from a mirror, registries without TLS (except on this computer),
// images of another architecture, and content with another digest. It unpacks nothing and
// runs nothing.
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

// Options are the options of Resolve and Pull.
type Options struct {
	// Arch is Debian's name, which for the supported architectures is also OCI's.
	Arch string
	// Mirror is the base address of a registry that is asked first for content, but never
	// to resolve a tag; "" for none.
	Mirror string
	// Room is how many bytes all images together may have; 0 means any number.
	Room     int64
	Progress progress.Reporter
}

// Image is one image with all blobs that its architecture needs, in the cache.
type Image struct {
	reference.Reference
	// Size is the size of its blobs in bytes, compressed.
	Size  int64
	media string
	blobs []blob // the index or manifest that the name refers to comes first
}

type blob struct {
	digest string // hex
	size   int64
	file   *fetch.File
}

// parallel is the number of parallel downloads, mostly from one registry: twice as many as
// the clients of Docker and containerd use.
const parallel = 6

type puller struct {
	cache *fetch.Cache
	opt   Options

	mu      sync.Mutex
	sources map[string][]*source // by repository: the mirror, then the registry itself
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

// of returns the sources of an image, the registry itself last.
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

// Resolve returns the references with their digests. A reference without a digest is looked
// up once, at the registry itself; what its tag means later no longer matters.
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

// lookUp resolves a tag. It computes the digest from the content rather than trusting the
// registry's header.
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

// Pull downloads all images into the cache. Before it downloads the first layer, it checks
// their total size and that they are for the architecture.
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

// distinct drops duplicates: an image may refer to a blob twice, for example to an empty
// layer.
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

// choose returns the manifest in an index that is for the board's architecture.
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
		if m.Platform != nil { // the index says that this is the right one
			return nil, nil, fmt.Errorf("its index is wrong about %s, which %w", m.Digest, err)
		}
	}
	return nil, nil, &archError{Want: p.opt.Arch, Have: index.platforms()}
}

// suited checks an image's config, which says what platform the image was built for.
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

// document downloads an index or a manifest. size is 0 if it is not known.
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

// layers downloads what is missing, several at a time, the largest first.
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

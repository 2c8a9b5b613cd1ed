package apt

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// Options are the options of Load. The zero value is right for a build with today's
// indexes.
type Options struct {
	Now      time.Time         // validity is checked at this time: zero means now; for a snapshot, its time
	keys     []byte            // if not nil, tests trust these instead of Debian's
	Progress progress.Reporter // nil reports to nobody
	// AllowOlder accepts an index even if a newer one of its suite was seen before.
	AllowOlder bool
}

// loader is the state that the steps of one Load share.
type loader struct {
	cache *fetch.Cache
	arch  string
	ring  openpgp.EntityList
	opt   Options
}

// Load fetches and verifies the indexes of the suites for one architecture. Of equal
// versions of a package, the one in the suite named first is taken. Parsed indexes are kept
// in the cache by digest, so that only a changed archive takes time. The caller closes the
// Archive.
func Load(ctx context.Context, c *fetch.Cache, suites []Suite, arch string, opt Options) (*Archive, error) {
	l, a, err := newLoader(c, arch, opt)
	if err != nil {
		return nil, err
	}
	loaded := make([]loadedSuite, len(suites))
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range suites {
		g.Go(func() (err error) {
			loaded[i], err = l.suite(ctx, s)
			return err
		})
	}
	err = g.Wait()
	for _, s := range loaded {
		a.releases = append(a.releases, s.release)
		a.parts = append(a.parts, s.parts...)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func newLoader(c *fetch.Cache, arch string, opt Options) (*loader, *Archive, error) {
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if opt.Progress == nil {
		opt.Progress = progress.Discard
	}
	ring, err := keyring(opt.keys)
	if err != nil {
		return nil, nil, fmt.Errorf("keys of the archive: %w", err)
	}
	a, err := newArchive(arch)
	return &loader{cache: c, arch: arch, ring: ring, opt: opt}, a, err
}

type loadedSuite struct {
	release Release
	parts   []*part
}

// suite loads one suite from the first mirror that serves a good index. A slow mirror is
// tried again after all others.
func (l *loader) suite(ctx context.Context, s Suite) (loadedSuite, error) {
	if len(s.Mirrors) == 0 {
		return loadedSuite{}, fmt.Errorf("suite %s: no mirror is known", s.Name)
	}
	var failed []error
	for queue := s.Mirrors; len(queue) > 0; queue = queue[1:] {
		m := queue[0]
		rel, info, err := l.release(ctx, s, m)
		switch {
		case err == nil:
			// The other mirrors may have files that this one lacks.
			parts, err := l.components(ctx, s, unique([]string{m}, s.Mirrors), rel)
			return loadedSuite{info, parts}, err
		case ctx.Err() != nil:
			return loadedSuite{}, err
		case errors.Is(err, fetch.ErrSlow): // a slow mirror is better than none
			queue = append(queue[:len(queue):len(queue)], m)
		}
		failed = append(failed, err)
	}
	return loadedSuite{}, fmt.Errorf("suite %s: %w", s.Name, errors.Join(failed...))
}

func (l *loader) release(ctx context.Context, s Suite, mirror string) (*releaseFile, Release, error) {
	u := join(mirror, "dists", s.Name, "InRelease")
	f, err := l.cache.GetIndex(ctx, fetch.IndexRequest{Name: s.Name + " InRelease", URL: u, Limit: 8 << 20}, l.opt.Progress)
	if err != nil {
		return nil, Release{}, err
	}
	msg, err := f.Bytes()
	if err != nil {
		return nil, Release{}, err
	}
	rel, err := l.read(msg, s)
	if err == nil {
		err = l.notOlder(ctx, s, rel)
	}
	if err != nil {
		return nil, Release{}, fmt.Errorf("%s: %w", fetch.Redact(u), err)
	}
	return rel, Release{
		Suite: s.Name, Date: rel.date, Components: s.Components, SHA256: f.SHA256(),
	}, nil
}

// read verifies and parses an InRelease file, the list of files to trust.
func (l *loader) read(msg []byte, s Suite) (*releaseFile, error) {
	text, err := verified(msg, l.ring, l.opt.Now)
	if err != nil {
		return nil, err
	}
	rel, err := parseRelease(string(text))
	if err != nil {
		return nil, err
	}
	return rel, rel.check(s, l.arch, l.opt.Now)
}

// notOlder refuses an index that is older than one seen before. An old index still has a
// valid signature, and if the archive sets no Valid-Until, it stays acceptable for years.
// The newest date is kept by the archive's Origin, so it applies to all of its mirrors.
func (l *loader) notOlder(ctx context.Context, s Suite, rel *releaseFile) error {
	newest, err := l.cache.Newest(ctx, rel.origin+" "+s.Name, rel.date)
	if err != nil || l.opt.AllowOlder || !newest.After(rel.date) {
		return err
	}
	return fmt.Errorf("index is dated %s, but one of %s was seen before: the mirror is behind, or somebody serves old packages on purpose; --allow-older-index takes it",
		rel.date.Format(dateLayout), newest.Format(dateLayout))
}

// components opens the indexes of a suite in parallel.
func (l *loader) components(ctx context.Context, s Suite, mirrors []string, rel *releaseFile) ([]*part, error) {
	var parts []*part
	for _, c := range s.Components {
		parts = append(parts, &part{suite: s.Name, component: c, arch: l.arch, only: s.Only, mirrors: mirrors})
		if rel.allApart {
			parts = append(parts, &part{suite: s.Name, component: c, arch: "all", only: s.Only, mirrors: mirrors})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		g.Go(func() error { return l.open(ctx, p, rel) })
	}
	return parts, g.Wait()
}

// open opens one index from the cache, building it first if it is missing.
func (l *loader) open(ctx context.Context, p *part, rel *releaseFile) error {
	plain, name, err := rel.packages(p.component, p.arch)
	if err != nil {
		return fmt.Errorf("suite %s: %w", p.suite, err)
	}
	f, err := l.cache.Derive(ctx, indexKind, plain.sha256+"-"+indexVersion, func(w io.Writer) error {
		return l.build(ctx, w, p, name, plain, rel)
	})
	if err != nil {
		return err
	}
	p.entry = f
	if p.file, err = os.Open(f.Path()); err != nil {
		return err
	}
	if p.index, err = openIndex(p.file); err != nil {
		return f.Damaged(err)
	}
	return nil
}

const indexKind = "apt-index"

// build fetches a Packages file and writes its index.
func (l *loader) build(ctx context.Context, w io.Writer, p *part, name string, plain releaseEntry, rel *releaseFile) error {
	entry := rel.files[name]
	label := fmt.Sprintf("%s/%s %s", p.suite, p.component, path.Base(name))
	file, err := l.cache.Get(ctx, fetch.Request{
		Name: label, URLs: indexURLs(p, name, entry, rel.byHash), SHA256: entry.sha256, Size: entry.size,
	}, l.opt.Progress)
	if err != nil {
		return err
	}
	if err := file.Verify(); err != nil { // before anything is parsed
		return err
	}
	task := l.opt.Progress.Start("index", label, entry.size)
	err = indexFile(w, file.Path(), path.Ext(name), plain, task)
	task.Done(err)
	if err != nil {
		return fmt.Errorf("%s: %w", label, err)
	}
	// The index holds all that is needed of the download.
	return l.cache.Drop(fetch.Downloads, entry.sha256)
}

// indexURLs prefers the by-hash name: its content cannot change while a mirror is updated.
func indexURLs(p *part, name string, e releaseEntry, byHash bool) []string {
	var urls []string
	for _, m := range p.mirrors {
		if byHash {
			urls = append(urls, join(m, "dists", p.suite, path.Dir(name), "by-hash/SHA256", e.sha256))
		}
		urls = append(urls, join(m, "dists", p.suite, name))
	}
	return urls
}

func join(base string, elem ...string) string {
	return strings.TrimRight(base, "/") + "/" + strings.Join(elem, "/")
}

// indexFile decompresses a Packages file, checks its content and indexes it.
func indexFile(w io.Writer, file, ext string, plain releaseEntry, task progress.Task) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := decompress(progress.Reader(f, task), ext)
	if err != nil {
		return err
	}
	defer text.Close()
	h := sha256.New()
	// Reading one byte more than the signed size is enough to make the digest wrong.
	tee := io.TeeReader(io.LimitReader(text, plain.size+1), h)
	if err := writeIndex(w, tee); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != plain.sha256 {
		return fmt.Errorf("content: %w", &fetch.DigestError{Want: plain.sha256, Got: got})
	}
	return nil
}

func decompress(r io.Reader, ext string) (io.ReadCloser, error) {
	switch ext {
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		x, err := xz.NewReader(r, 0)
		return io.NopCloser(x), err
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

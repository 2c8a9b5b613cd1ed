package fat

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// Limits of Tree: far above any boot partition, far below any harm.
const (
	maxNodes = 1 << 20
	maxDepth = 64
)

// Tree returns all files and directories. Contents are read from the volume
// when they are opened; their digests are computed when first asked for.
// Permissions are what Linux shows: 0755, as FAT has none.
//
// A directory reached twice, a chain in a circle or one that leaves the
// volume, and two entries of one name are errors that name the path.
func (f *FS) Tree() (*tree.Tree, error) {
	w := &treeReader{fs: f, t: tree.New(), seen: map[uint32]string{}}
	if err := w.dir(".", f.g.rootCluster, 0); err != nil {
		return nil, fmt.Errorf("read FAT32: %w", err)
	}
	return w.t, nil
}

type treeReader struct {
	fs   *FS
	t    *tree.Tree
	seen map[uint32]string // directories by first cluster
	used int64             // clusters of files so far
}

func (w *treeReader) dir(p string, cluster uint32, depth int) error {
	if other, ok := w.seen[cluster]; ok {
		return fmt.Errorf("/%s: is the same directory as /%s", p, other)
	}
	if depth > maxDepth {
		return fmt.Errorf("/%s: more than %d directories deep", p, maxDepth)
	}
	w.seen[cluster] = p
	list, err := w.fs.readDir(cluster)
	if err != nil {
		return fmt.Errorf("/%s: %w", p, err)
	}
	for _, e := range list {
		if err := w.entry(path.Join(p, e.name), e, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *treeReader) entry(p string, e *entry, depth int) error {
	if w.t.Len() >= maxNodes {
		return fmt.Errorf("/%s: more than %d files", p, maxNodes)
	}
	n := &tree.Node{Path: p, Mode: 0o755, ModTime: e.modTime, Source: "FAT32"}
	if w.t.Get(p) != nil {
		return fmt.Errorf("/%s: two entries of this name", p)
	}
	if e.dir {
		n.Mode |= fs.ModeDir
		if err := w.t.Add(n); err != nil {
			return err
		}
		return w.dir(p, e.first, depth+1)
	}
	// Without this a directory full of entries of one huge file could cost
	// any amount of memory and time.
	if w.used += w.fs.g.clustersFor(e.size); w.used > w.fs.g.clusters {
		return fmt.Errorf("/%s: files claim more than the whole volume, so some share their clusters", p)
	}
	ext, err := w.fs.fileExtents(e)
	if err != nil {
		return fmt.Errorf("/%s: %w", p, err)
	}
	n.Content = newContent(w.fs.r, ext)
	return w.t.Add(n)
}

// content is a file's data on the volume.
type content struct {
	r   io.ReaderAt
	ext []Extent
	sum func() string
}

func newContent(r io.ReaderAt, ext []Extent) *content {
	c := &content{r: r, ext: ext}
	c.sum = sync.OnceValue(c.hash)
	return c
}

func (c *content) Open() (io.ReadCloser, error) {
	return io.NopCloser(&extentReader{r: c.r, ext: c.ext}), nil
}

func (c *content) Size() int64 { return length(c.ext) }

// SHA256 returns "" for data that cannot be read; whoever opens it learns why.
func (c *content) SHA256() string { return c.sum() }

func (c *content) hash() string {
	h := sha256.New()
	if _, err := io.Copy(h, &extentReader{r: c.r, ext: c.ext}); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

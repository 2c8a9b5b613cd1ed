package squashfs

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// fragment is a block made of several files that are smaller than a block. The ends of
// larger files get their own blocks: putting them into fragments would save 0.05 % of a
// Debian root, but to read them the kernel would have to read a block with unrelated files.
type fragment struct {
	files []*file
	size  int64

	start int64
	word  uint32 // stored size, see storedBlock
}

// layOut sorts files into the order in which they are packed, and assigns small ones to
// fragments. Only names determine the order: files of one directory are adjacent, which
// compresses as well as sorting by type, and they are usually read together.
func layOut(files []*file) []*fragment {
	slices.SortFunc(files, func(a, b *file) int {
		return cmp.Or(cmp.Compare(rank(a.name), rank(b.name)), tree.ComparePaths(a.name, b.name))
	})
	var fragments []*fragment
	var open *fragment
	for _, f := range files {
		if len(f.blocks) > 0 {
			continue
		}
		if open == nil || open.endsBefore(f) {
			open = &fragment{}
			fragments = append(fragments, open)
		}
		f.fragment, f.offset = uint32(len(fragments)-1), uint32(open.size)
		open.files = append(open.files, f)
		open.size += f.size
	}
	return fragments
}

// endsBefore reports whether f begins a new fragment. A fragment ends when it is full, where
// the kind of file changes, and, once half full, before one digest in eight. So a changed file
// changes its own fragment and a few after it, but not all of them; the others come from the
// cache.
func (g *fragment) endsBefore(f *file) bool {
	last := g.files[len(g.files)-1]
	return g.size+f.size > blockSize ||
		rank(last.name) != rank(f.name) ||
		g.size >= blockSize/2 && (strings.HasSuffix(f.digest, "0") || strings.HasSuffix(f.digest, "8"))
}

// rank groups files by what their names say about their content.
func rank(name string) int {
	switch path.Ext(name) {
	case ".xz", ".gz", ".zst", ".bz2", ".lz4", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".zip", ".whl", ".woff2", ".sqfs", ".squashfs":
		return 1
	}
	return 0
}

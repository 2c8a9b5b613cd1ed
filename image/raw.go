package image

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// rawFile is a file that is written outside of all partitions.
type rawFile struct {
	at      int64
	content tree.Content
}

// rawFiles finds the files that the board wants outside of its partitions, sorted by
// offset. It refuses files that are in no package, and files that would reach into the next
// raw file or the first partition.
func rawFiles(b *board.Board, root *tree.Tree) ([]rawFile, error) {
	var files []rawFile
	order := slices.Clone(b.Disk.Raw)
	slices.SortFunc(order, func(x, y board.Raw) int { return cmp.Compare(x.Offset, y.Offset) })
	for i, r := range order {
		n, err := root.Resolve(r.File)
		if err != nil {
			return nil, rawError(b, r, "%v: add the package that has it to packages:", err)
		}
		if n.IsHardLink() {
			n = root.Get(n.Link)
		}
		if n.Content == nil || n.Size() == 0 {
			return nil, rawError(b, r, "/%s is empty or no file", r.File)
		}
		end, what := int64(board.RawRoom), "the first partition"
		if i+1 < len(order) {
			end, what = int64(order[i+1].Offset), order[i+1].File
		}
		if over := int64(r.Offset) + n.Size() - end; over > 0 {
			return nil, rawError(b, r, "/%s has %d bytes, and %d of them would lie over %s, which begins at %v", r.File, n.Size(), over, what, board.Size(end))
		}
		files = append(files, rawFile{int64(r.Offset), n.Content})
	}
	return files, nil
}

func rawError(b *board.Board, r board.Raw, format string, args ...any) error {
	i := slices.Index(b.Disk.Raw, r)
	return fmt.Errorf("%s.yaml:%d: field \"disk.raw[%d].file\": %s", b.Name, r.Line, i, fmt.Sprintf(format, args...))
}

func (f rawFile) write(w io.WriterAt) error {
	r, err := f.content.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.NewOffsetWriter(w, f.at), r)
	return err
}

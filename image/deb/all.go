package deb

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// Input is a package file with its expected digest.
type Input struct{ Path, SHA256 string }

// DecodeAll decodes many packages on all processors and returns them in the
// order of inputs. The largest begin first: a kernel that came last would
// keep one processor busy while the others wait.
func DecodeAll(ctx context.Context, c *fetch.Cache, inputs []Input, p progress.Reporter) ([]*Package, error) {
	packages := make([]*Package, len(inputs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range bySize(inputs) {
		g.Go(func() (err error) {
			packages[i], err = Decode(ctx, c, inputs[i].Path, inputs[i].SHA256, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return packages, nil
}

// bySize returns the indexes of inputs, largest file first. A file that is
// missing counts as empty: Decode may have it in the cache, or will report it.
func bySize(inputs []Input) []int {
	sizes := make([]int64, len(inputs))
	order := make([]int, len(inputs))
	for i, in := range inputs {
		order[i] = i
		if fi, err := os.Stat(in.Path); err == nil {
			sizes[i] = fi.Size()
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	return order
}

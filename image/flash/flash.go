// Package flash writes images to cards and disks, proves by reading back that
// they arrived, and gives a written image the identity of one node.
//
// It refuses every device that looks like a mistake: the disk the system runs
// from, one that is mounted or part of something larger, a partition, one that
// is too small; and one that is built in, unless forced. Only the last can be
// overridden.
//
// A device is always written in full. Holes of a block map are not skipped:
// an old FAT or an old directory in a hole would come to life again. Blocks of
// zeros are instead left to the device, where it can make them itself.
package flash

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// Source is an image being read from its beginning.
type Source struct {
	io.Reader
	// Size of the raw image in bytes, -1 where only its end will tell.
	Size int64
	// SHA256 of the raw image in lower-case hex where it is known, else "". A
	// source that turns out different is an error.
	SHA256 string
}

// Options of Write.
type Options struct {
	// Force allows devices that are built in, not removable.
	Force bool
	// NoVerify leaves out reading back.
	NoVerify bool
	// Progress receives the tasks "write" and "verify"; nil is nobody.
	Progress progress.Reporter
}

func (o Options) progress() progress.Reporter {
	if o.Progress == nil {
		return progress.Discard
	}
	return o.Progress
}

// Result says what was written.
type Result struct {
	Size     int64
	SHA256   string // of the raw image, lower-case hex
	Verified bool
}

// WriteImage writes an image file, raw or compressed, to a device or file.
func WriteImage(ctx context.Context, image, target string, opt Options) (Result, error) {
	if sameFile(image, target) {
		return Result{}, fmt.Errorf("%s cannot be written to itself", image)
	}
	r, err := compress.Open(image)
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	return Write(ctx, Source{Reader: r, Size: r.Size}, target, opt)
}

func sameFile(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}

// Write writes an image to a device, or to a file, which appears under its
// name only when it is complete and verified.
//
// The first megabytes, with the partition table, are written last and after
// everything else is on the medium: what an interrupted Write leaves does not
// look like a disk.
func Write(ctx context.Context, src Source, target string, opt Options) (Result, error) {
	t, err := openTarget(ctx, target, src.Size, opt.Force)
	if err != nil {
		return Result{}, err
	}
	defer t.close()
	w := &writer{target: t, src: src, opt: opt}
	if err := w.run(ctx); err != nil {
		return Result{}, fmt.Errorf("write %s: %w%s", target, err, t.warning())
	}
	if err := t.commit(); err != nil {
		return Result{}, fmt.Errorf("write %s: %w", target, err)
	}
	return w.result, nil
}
